"""Metrics of sentiment from -3 to 3, by the conventions of CMU-MOSI and CMU-MOSEI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Array, Float
from mmjax.metrics.confusion import averages, confusion_matrix
from mmjax.metrics.number_sums import regression_from_sums, regression_sums
from mmjax.metrics.regression import regression

METRICS = (
    *("mae", "corr", "acc7", "acc5"),
    *("acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc2_pos", "f1_pos"),
)
CONVENTIONS = ("has0", "non0", "pos")


def sentiment(
    predictions: Float[np.ndarray, "n"], targets: Float[np.ndarray, "n"]
) -> dict[str, float]:
    """The field's metrics of scores `[n]` or `[n 1]`, in float64; targets lie in [-3, 3].

    - `mae`, `corr`: mean absolute error, Pearson's correlation.
    - `acc7`, `acc5`: the share of rows where both numbers, cut to [-3, 3] (or [-2, 2]) and rounded
      (a half to the even number), are the same.
    - `acc2_has0`, `f1_has0`: negative (< 0) against non-negative, all rows.
    - `acc2_non0`, `f1_non0`: negative against positive, rows whose target is 0 left out; a
      prediction of exactly 0 is negative.
    - `acc2_pos`, `f1_pos`: positive (> 0) against the rest, all rows.

    Each F1 is the mean of the two classes' weighted by how common they are in the targets
    (scikit-learn's "weighted"). The first nine agree with MMSA (`MetricsTop`, MOSI and MOSEI: Has0,
    Non0; Yu et al. 2021), whose numbers are rounded to four digits. MulT (Tsai et al. 2019,
    `eval_mosei_senti`) reports `acc2_pos`, or with `exclude_zero` `acc2_non0`; its F1 is weighted
    by how common classes are in the predictions instead, which is in none of these.

    A target that is NaN is not known and counts nowhere. NaN is what no row gives, `corr` where
    predictions or targets are all the same, and `acc2_non0` and `f1_non0` where all targets are 0
    (there MMSA fails). Raises DataError for shapes that do not fit, and numbers that are not
    finite.
    """
    predictions, targets = _column(predictions), _column(targets)
    if predictions.shape != targets.shape:
        raise DataError(
            540,
            f"{len(predictions)} predictions for {len(targets)} targets",
            fix="expected [n] of both",
        )
    if not len(targets):
        return dict.fromkeys(METRICS, float("nan"))
    numbers = regression(predictions, targets)
    known = ~np.isnan(targets)
    predictions, targets = predictions[known], targets[known]
    found = {"mae": numbers["mae"], "corr": numbers["pearson"]}
    for most in (3, 2):
        same = _rounded(predictions, most) == _rounded(targets, most)
        found[f"acc{2 * most + 1}"] = float(same.mean()) if len(same) else float("nan")
    for name in CONVENTIONS:
        truth, said = (_classes(one, name).astype(int) for one in (targets, predictions))
        rows = targets != 0 if name == "non0" else slice(None)
        found |= _of_confusion(confusion_matrix(truth[rows], said[rows], 2), name)
    return found


def sentiment_sums(
    predictions: Float[Array, "b"], targets: Float[Array, "b"], rows: Float[Array, "b"]
) -> dict[str, Array]:
    """Float32 sums over the rows of one batch that count and whose target is not NaN.

    `moments_...` are the sums [1] of `regression_sums`, `same7` and `same5` count rows, `has0`,
    `non0` and `pos` are confusions [2 2] (true, predicted).
    """
    known = (rows > 0) & ~jnp.isnan(targets)
    counted = known.astype(jnp.float32)
    truth = jnp.where(known, targets.astype(jnp.float32), 0.0)
    found = jnp.where(known, predictions.astype(jnp.float32), 0.0)
    moments = regression_sums(found[:, None], truth[:, None], counted)
    sums = {f"moments_{name}": value for name, value in moments.items()}
    for most in (3, 2):
        same = jnp.round(jnp.clip(found, -most, most)) == jnp.round(jnp.clip(truth, -most, most))
        sums[f"same{2 * most + 1}"] = jnp.sum(counted * same)
    for name in CONVENTIONS:
        weights = counted * (truth != 0) if name == "non0" else counted
        true, said = (
            jax.nn.one_hot(_classes(one, name).astype(jnp.int32), 2) for one in (truth, found)
        )
        sums[name] = jnp.einsum("bt,bp->tp", true * weights[:, None], said, precision="highest")
    return sums


def sentiment_from_sums(sums: Mapping[str, Any]) -> dict[str, float]:
    """The flat dict of `sentiment`, divided in float64; all NaN if no row counted."""
    values = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    moments = {
        name.removeprefix("moments_"): value
        for name, value in values.items()
        if name.startswith("moments_")
    }
    count = float(moments["count"][0])
    if not count:
        return dict.fromkeys(METRICS, float("nan"))
    numbers = regression_from_sums(moments)
    found = {"mae": numbers["mae"], "corr": numbers["pearson"]}
    found |= {f"acc{k}": float(values[f"same{k}"] / count) for k in (7, 5)}
    for name in CONVENTIONS:
        found |= _of_confusion(values[name], name)
    return found


def _classes(values: Any, convention: str) -> Any:
    return values >= 0 if convention == "has0" else values > 0


def _rounded(values: np.ndarray, most: int) -> np.ndarray:
    return np.round(np.clip(values, -most, most))


def _of_confusion(confusion: np.ndarray, name: str) -> dict[str, float]:
    if not confusion.sum():
        return {f"acc2_{name}": float("nan"), f"f1_{name}": float("nan")}
    found = averages(confusion)
    return {f"acc2_{name}": found["accuracy"], f"f1_{name}": found["weighted_f1"]}


def _column(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(540, f"scores have shape {list(values.shape)}", fix="expected [n]")
    return values if len(values) else values.astype(np.float64)
