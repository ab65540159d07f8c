"""Metrics of numbers that are predicted as sums, as `sums` has them for classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float
from mmjax.metrics.regression import explained, together


def regression_sums(
    predictions: Float[Array, "b t"],
    targets: Float[Array, "b t"],
    rows: Float[Array, "b"],
    *,
    quantile_predictions: Float[Array, "b t q"] | None = None,
    quantiles: Sequence[float] = (),
) -> dict[str, Array]:
    """Float32 sums [t] over the rows of one batch that count and whose target is not NaN.

    `count`, `absolute`, `squared` (of errors), `target`, `target_squared`, `prediction`,
    `prediction_squared`, `product`, and of quantiles `pinball`, `inside` and `interval`. Numbers
    should be standardised: variances are differences of these.
    """
    known = (rows[:, None] > 0) & ~jnp.isnan(targets)
    counted = known.astype(jnp.float32)
    truth = jnp.where(known, targets.astype(jnp.float32), 0.0)
    found = jnp.where(known, predictions.astype(jnp.float32), 0.0)
    error = found - truth
    parts = {
        "count": counted,
        "absolute": jnp.abs(error),
        "squared": error**2,
        "target": truth,
        "target_squared": truth**2,
        "prediction": found,
        "prediction_squared": found**2,
        "product": found * truth,
    }
    if quantile_predictions is not None:
        levels = jnp.asarray(quantiles, jnp.float32)
        each = quantile_predictions.astype(jnp.float32)
        low, high = each[..., int(np.argmin(quantiles))], each[..., int(np.argmax(quantiles))]
        missed = truth[..., None] - each
        losses = jnp.maximum(levels * missed, (levels - 1) * missed).mean(axis=-1)
        parts["pinball"] = jnp.where(known, losses, 0.0)
        parts["inside"] = counted * ((truth >= low) & (truth <= high))
        parts["interval"] = jnp.where(known, high - low, 0.0)
    return {name: value.sum(axis=0) for name, value in parts.items()}


def regression_from_sums(
    sums: Mapping[str, Any],
    *,
    names: Sequence[str] | None = None,
    deviations: Sequence[float] = (),
) -> dict[str, float]:
    """The flat dict of `regression` less `spearman`, and of `quantile_regression`.

    `deviations` bring standardised numbers back to their units; ones if empty. Numbers whose
    variance is within rounding of 0 are taken to be all the same.
    """
    values = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    scales = list(deviations) or [1.0] * len(values["count"])
    each = [
        _of_sums({name: float(value[i]) for name, value in values.items()}, scale)
        for i, scale in enumerate(scales)
    ]
    return together(each, names)


def _of_sums(sums: Mapping[str, float], scale: float) -> dict[str, float]:
    count = sums["count"]
    means = {k: v / count if count else float("nan") for k, v in sums.items() if k != "count"}
    spread = {name: _variance(means, name) for name in ("target", "prediction")}
    both = (spread["target"] * spread["prediction"]) ** 0.5
    covariance = means["product"] - means["target"] * means["prediction"]
    found = {
        "mae": scale * means["absolute"],
        "rmse": scale * means["squared"] ** 0.5,
        "r2": explained(means["squared"], spread["target"], count),
        "pearson": max(-1.0, min(1.0, covariance / both)) if both > 0 else float("nan"),
    }
    if "pinball" in means:
        found["pinball"] = scale * means["pinball"]
        found["coverage"] = means["inside"]
        found["interval"] = scale * means["interval"]
    return found


def _variance(means: Mapping[str, float], name: str) -> float:
    square = means[f"{name}_squared"]
    variance = square - means[name] ** 2
    return variance if variance > 1e-6 * square else 0.0
