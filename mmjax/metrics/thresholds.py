"""From which probability on a label is predicted."""

from __future__ import annotations

import numpy as np

from mmjax.core.typing import Bool, Float


def best_thresholds(
    probabilities: Float[np.ndarray, "n v"],
    labels: Bool[np.ndarray, "n v"],
    *,
    shared: bool = False,
    default: float = 0.5,
) -> Float[np.ndarray, "v"]:
    """The threshold of each label that gives it the highest F1 on these rows.

    With `shared`, one for all labels, that of the highest micro F1. Thresholds lie halfway between
    two probabilities that occur; of equally good ones the nearest to `default` is taken, which is
    also that of a label that no row has.
    """
    scores, truth = np.asarray(probabilities, np.float64), np.asarray(labels, bool)
    if shared:
        best = _best(scores.ravel(), truth.ravel(), default)
        return np.full(scores.shape[1], best)
    return np.asarray([_best(s, t, default) for s, t in zip(scores.T, truth.T, strict=True)])


def _best(scores: np.ndarray, truth: np.ndarray, default: float) -> float:
    if not truth.any():
        return default
    levels, at = np.unique(scores, return_inverse=True)
    # Of the rows at each level or above: how many are predicted, and how many of them rightly.
    predicted = np.cumsum(np.bincount(at)[::-1])[::-1]
    right = np.cumsum(np.bincount(at, weights=truth)[::-1])[::-1]
    f1 = 2 * right / (predicted + truth.sum())
    below = np.concatenate([[0.0], levels[:-1]])
    # Between a level and the one below it any threshold is as good: the nearest to the default.
    halfway = (levels + below) / 2
    nearest = np.where((below < default) & (default <= levels), default, halfway)
    good = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(nearest[good[np.argmin(np.abs(nearest[good] - default))]])
