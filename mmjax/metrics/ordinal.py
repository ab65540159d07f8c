"""Metrics of classes that have an order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.typing import Float, Int
from mmjax.metrics.confusion import averages, confusion_matrix, per_class
from mmjax.metrics.inputs import names_of


def ordinal(
    predictions: Int[np.ndarray, "n"],
    labels: Int[np.ndarray, "n"],
    num_labels: int,
    *,
    label_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Metrics of ranks in [0, num_labels); `ordinal_from_confusion` says which."""
    confusion = confusion_matrix(labels, predictions, num_labels)
    return ordinal_from_confusion(confusion, label_names)


def ordinal_from_confusion(
    confusion: Float[np.ndarray, "c c"], label_names: Sequence[str] | None = None
) -> dict[str, float]:
    """Metrics that follow from counts by true (rows) and predicted (columns) rank.

    - `mae`: how many ranks a prediction is off, on average; `macro_mae`: the mean over the ranks
      that occur of that of their rows (Baccianella et al. 2009).
    - `quadratic_kappa`: Cohen's kappa with squared distances as weights; NaN where labels and
      predictions are all of one rank. Agrees with scikit-learn's `cohen_kappa_score`.
    - `accuracy`, `within_one`: predictions of the very rank, and of it or one beside it.
    - and those of `classification` that do without probabilities.

    Everything is NaN of no rows.
    """
    counts = np.asarray(confusion, np.float64)
    names = names_of(label_names, len(counts))
    if not counts.sum() > 0:
        ones = ordinal_from_confusion(np.ones_like(counts), names)
        return dict.fromkeys(ones, float("nan"))
    ranks = np.arange(len(counts))
    off = np.abs(ranks[:, None] - ranks[None])
    support, predicted, total = counts.sum(1), counts.sum(0), counts.sum()
    chance = (off**2 * np.outer(support, predicted)).sum() / total
    of_rank = (counts * off).sum(1)[support > 0] / support[support > 0]
    found = averages(counts)
    return {
        "accuracy": found.pop("accuracy"),
        "within_one": float(counts[off <= 1].sum() / total),
        "mae": float((counts * off).sum() / total),
        "macro_mae": float(of_rank.mean()),
        "quadratic_kappa": float(1 - (counts * off**2).sum() / chance) if chance else float("nan"),
        **found,
        **per_class(counts, names),
    }
