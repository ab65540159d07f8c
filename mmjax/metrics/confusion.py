"""The confusion matrix, and every metric that follows from it alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.typing import Float, Int
from mmjax.metrics.inputs import labels_in_range, row_weights


def confusion_matrix(
    labels: Int[np.ndarray, "n"],
    predictions: Int[np.ndarray, "n"],
    num_labels: int,
    *,
    weights: Float[np.ndarray, "n"] | None = None,
) -> np.ndarray:
    """Rows by true class, columns by predicted class: int64 counts, or float64 summed `weights`.

    Raises DataError for labels or predictions outside [0, num_labels). Agrees with
    `sklearn.metrics.confusion_matrix(labels, predictions, labels=range(num_labels))`.
    """
    labels = labels_in_range(labels, num_labels)
    predictions = labels_in_range(predictions, num_labels, "predictions")
    cell = labels * num_labels + predictions
    chosen = None if weights is None else row_weights(weights, len(labels))
    cells = np.bincount(cell, weights=chosen, minlength=num_labels**2)
    return cells.reshape(num_labels, num_labels)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def averages(confusion: Float[np.ndarray, "c c"]) -> dict[str, float]:
    """Accuracy and the averages over classes; conventions as in `classification`."""
    confusion = np.asarray(confusion, np.float64)
    support, predicted, correct = confusion.sum(1), confusion.sum(0), np.diagonal(confusion)
    recall, precision = _ratio(correct, support), _ratio(correct, predicted)
    f1 = _ratio(2 * correct, support + predicted)
    seen = support + predicted > 0
    return {
        "accuracy": float(correct.sum() / support.sum()),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_f1": float(f1[seen].mean()),
        "weighted_f1": float((f1 * support).sum() / support.sum()),
        "macro_precision": float(precision[seen].mean()),
        "macro_recall": float(recall[seen].mean()),
        "mcc": _matthews(correct, support, predicted),
        **(_of_two(precision, recall, f1) if len(confusion) == 2 else {}),
    }


def _of_two(precision: np.ndarray, recall: np.ndarray, f1: np.ndarray) -> dict[str, float]:
    """Of two classes, 1 is the one that is looked for."""
    return {
        "precision": float(precision[1]),
        "recall": float(recall[1]),
        "specificity": float(recall[0]),
        "f1": float(f1[1]),
    }


def _matthews(correct: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> float:
    """Gorodkin 2004, equation 8."""
    total = support.sum()
    spread = (total**2 - (support**2).sum()) * (total**2 - (predicted**2).sum())
    if not spread > 0:
        return 0.0
    return float((correct.sum() * total - support @ predicted) / spread**0.5)


def per_class(confusion: Float[np.ndarray, "c c"], names: Sequence[str]) -> dict[str, float]:
    """`precision/<name>`, `recall/<name>`, `f1/<name>`, `support/<name>` of each class."""
    confusion = np.asarray(confusion, np.float64)
    support, predicted, correct = confusion.sum(1), confusion.sum(0), np.diagonal(confusion)
    columns = {
        "precision": _ratio(correct, predicted),
        "recall": _ratio(correct, support),
        "f1": _ratio(2 * correct, support + predicted),
        "support": support,
    }
    return {
        f"{column}/{name}": float(values[i])
        for i, name in enumerate(names)
        for column, values in columns.items()
    }
