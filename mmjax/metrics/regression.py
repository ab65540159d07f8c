"""Metrics of numbers that are predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float
from mmjax.metrics.inputs import names_of

METRICS = ("mae", "rmse", "r2", "pearson", "spearman")


def regression(
    predictions: Float[np.ndarray, "n t"],
    targets: Float[np.ndarray, "n t"],
    *,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Metrics of one target `[n]` or several `[n t]`, in float64.

    - `mae`, `rmse`: mean absolute error, and the root of the mean squared one, in the units of the
      target.
    - `r2`: 1 - squared error / that of the targets' own mean. Of targets that are all the same, 1
      if they are met exactly, else 0; NaN of fewer than two.
    - `pearson`, `spearman`: correlations, of equal numbers by their mean rank; NaN where
      predictions or targets are all the same.

    Of several targets each has its own (`mae/<name>`), and the plain name is the mean of those that
    are defined. A target that is NaN is not known and counts nowhere. Agrees with scikit-learn and
    SciPy. Raises DataError for shapes that do not fit, no rows, and numbers that are not finite.
    """
    predictions, targets = _columns(predictions, targets)
    each = [
        _of_one(p[~np.isnan(t)], t[~np.isnan(t)])
        for p, t in zip(predictions.T, targets.T, strict=True)
    ]
    return together(each, names)


def together(each: Sequence[Mapping[str, float]], names: Sequence[str] | None) -> dict[str, float]:
    """The metrics of several targets: their means, and those of each where there are several."""
    found = {}
    for metric in each[0]:
        known = [one[metric] for one in each if one[metric] == one[metric]]
        found[metric] = float(np.mean(known)) if known else float("nan")
    if len(each) > 1:
        for name, one in zip(names_of(names, len(each)), each, strict=True):
            found |= {f"{metric}/{name}": value for metric, value in one.items()}
    return found


def quantile_regression(
    predictions: Float[np.ndarray, "n t q"],
    targets: Float[np.ndarray, "n t"],
    quantiles: Sequence[float],
    *,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """How good predicted quantiles are, in float64.

    - `pinball`: the mean over rows and quantiles of max(q e, (q - 1) e) of the error e = target -
      prediction (Koenker and Bassett 1978; scikit-learn's `mean_pinball_loss`).
    - `coverage`: the share of targets from the lowest quantile to the highest, which should be
      their difference; `interval`, how far these are apart.

    Targets that are NaN and several targets are as in `regression`.
    """
    predictions = np.asarray(predictions, np.float64)
    levels = np.asarray(quantiles, np.float64)
    if predictions.ndim != 3 or predictions.shape[2:] != levels.shape:
        raise DataError(
            540,
            f"predictions have shape {list(predictions.shape)}",
            fix=f"expected [n t {len(levels)}]",
        )
    _, targets = _columns(predictions[..., 0], targets)
    low, high = int(levels.argmin()), int(levels.argmax())
    each = []
    for column in range(targets.shape[1]):
        known = ~np.isnan(targets[:, column])
        found, truth = predictions[known, column], targets[known, column]
        error = truth[:, None] - found
        inside = (truth >= found[:, low]) & (truth <= found[:, high])
        losses = np.maximum(levels * error, (levels - 1) * error)
        width = found[:, high] - found[:, low]
        parts = {"pinball": losses, "coverage": inside, "interval": width}
        some = bool(known.any())
        each.append({k: float(v.mean()) if some else float("nan") for k, v in parts.items()})
    return together(each, names)


def _columns(predictions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    if predictions.shape != targets.shape or predictions.ndim not in (1, 2) or not targets.size:
        raise DataError(
            540,
            f"predictions have shape {list(predictions.shape)}, targets {list(targets.shape)}",
            fix="expected [n] or [n t] of both, n at least 1",
        )
    if predictions.dtype.kind not in "biuf" or targets.dtype.kind not in "biuf":
        raise DataError(541, f"{predictions.dtype} and {targets.dtype}", fix="give numbers")
    predictions = predictions.reshape(len(predictions), -1).astype(np.float64)
    targets = targets.reshape(len(targets), -1).astype(np.float64)
    wrong = ~np.isfinite(predictions) | np.isinf(targets)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise DataError(
            542,
            f"prediction {predictions[row, column]} of target {targets[row, column]}",
            where=f"row {row}, column {column}",
            fix="look for a diverged model or a bad input in that row",
        )
    return predictions, targets


def _of_one(predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    if not len(targets):
        return dict.fromkeys(METRICS, float("nan"))
    errors = predictions - targets
    squared = float((errors**2).mean())
    return {
        "mae": float(np.abs(errors).mean()),
        "rmse": squared**0.5,
        "r2": explained(squared, 0.0 if _same(targets) else float(targets.var()), len(targets)),
        "pearson": _correlation(predictions, targets),
        "spearman": _correlation(_ranks(predictions), _ranks(targets)),
    }


def explained(squared: float, variance: float, rows: float) -> float:
    """R2 of a mean squared error and the variance of the targets."""
    if rows < 2:
        return float("nan")
    if not variance > 0:
        return float(squared == 0)
    return 1 - squared / variance


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on, of equal values their mean."""
    _, level, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[level]


def _same(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 2 or _same(a) or _same(b):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    # Lengths first, so that large numbers do not overflow when they are multiplied.
    value = (a / np.linalg.norm(a)) @ (b / np.linalg.norm(b))
    return float(np.clip(value, -1, 1))
