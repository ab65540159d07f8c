"""How well scores tell yes from no, whatever the threshold."""

from __future__ import annotations

import numpy as np

from mmjax.core.typing import Bool, Float


def auroc(
    scores: Float[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    weights: Float[np.ndarray, "n"] | None = None,
) -> float:
    """P(a positive scores above a negative) + half P(they score the same); NaN without both."""
    positives, negatives = _by_level(scores, positive, weights)
    pairs = positives.sum() * negatives.sum()
    if not pairs:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / pairs)


def average_precision(
    scores: Float[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    weights: Float[np.ndarray, "n"] | None = None,
) -> float:
    """The sum over thresholds of (recall - recall before) x precision; NaN without a positive.

    Equal scores are one threshold, as in scikit-learn's `average_precision_score`, which is 0
    without a positive.
    """
    positives, negatives = _by_level(scores, positive, weights)
    total = positives.sum()
    if not total:
        return float("nan")
    hits = np.cumsum(positives[::-1])
    found = hits + np.cumsum(negatives[::-1])
    precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
    return float((positives[::-1] * precision).sum() / total)


def _by_level(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The weight of positives and of negatives at each distinct score, ascending."""
    weights = np.ones(len(scores)) if weights is None else weights
    _, level = np.unique(scores, return_inverse=True)
    return (
        np.bincount(level, weights=weights * positive),
        np.bincount(level, weights=weights * ~positive),
    )


def precision_recall(
    scores: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t"]]:
    """Recall, ascending, and precision at each distinct score as the threshold, the highest first.

    Empty without a positive. Agrees with scikit-learn's `precision_recall_curve`, which has the
    thresholds the other way round and one more point.
    """
    positives, negatives = _by_level(scores, positive, None)
    if not positives.sum():
        return np.zeros(0), np.zeros(0)
    hits = np.cumsum(positives[::-1])
    found = hits + np.cumsum(negatives[::-1])
    return hits / positives.sum(), hits / found
