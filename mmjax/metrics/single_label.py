"""Metrics of classification with one label a row, from probabilities, on the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float, Int
from mmjax.metrics.calibration import calibration_bins, expected_calibration_error
from mmjax.metrics.confusion import averages, confusion_matrix, per_class
from mmjax.metrics.inputs import labels_in_range, names_of, probability_rows, row_weights
from mmjax.metrics.scores import auroc, average_precision


def classification(
    probabilities: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, "n"],
    *,
    label_names: Sequence[str] | None = None,
    ks: Sequence[int] = (1, 5),
    bins: int = 15,
    weights: Float[np.ndarray, "n"] | None = None,
) -> dict[str, float]:
    """Every single-label metric as a flat dict, in float64.

    - `accuracy`: the label has the highest probability; of equal ones the lower index is
      predicted.
    - `top<k>_accuracy` for each k of `ks` with 1 < k < c: fewer than k classes rank before the
      label; of equal probabilities the lower index ranks first.
    - `precision/<name>`, `recall/<name>`, `f1/<name>`: 0 where the denominator is 0.
      `support/<name>`: rows (or weight) of that class.
    - `macro_precision`, `macro_recall`, `macro_f1`: plain means over the classes that occur in the
      labels or the predictions (scikit-learn's default). `weighted_f1`: mean weighted by support.
    - `balanced_accuracy`: mean recall over the classes that occur in the labels.
    - `mcc`: Matthews' correlation coefficient; 0 where labels or predictions are all of one class.
    - `precision`, `recall`, `specificity`, `f1`, with two classes: those of class 1, and the recall
      of class 0; 0 where the denominator is 0.
    - `auroc`, `ap` (average precision): with two classes those of class 1; else means over
      one-versus-rest, leaving out classes that are absent from the labels. Equal scores count half
      in the first and are one threshold in the second. `auroc` is NaN if the labels are all of one
      class, `ap` if none is of class 1 of two.
    - `log_loss`: mean of -log p(label) in nats, p clipped to [eps, 1 - eps] of float64.
    - `ece`: expected calibration error over `bins` equal bins of the top probability.

    A row counts `weights` times (once if None). Agrees with scikit-learn, whose names these are.
    Raises DataError for wrong shapes, no rows, labels that are not integers in [0, c), values that
    are not finite, and rows that are no distribution.
    """
    probabilities = probability_rows(probabilities)
    rows, num_labels = probabilities.shape
    labels = labels_in_range(labels, num_labels)
    if len(labels) != rows:
        raise DataError(540, f"{len(labels)} labels for {rows} rows of probabilities", fix="match")
    names = names_of(label_names, num_labels)
    row_weight = row_weights(weights, rows)
    predictions = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predictions, num_labels, weights=row_weight)
    calibration = calibration_bins(probabilities, labels, bins=bins, weights=row_weight)
    eps = np.finfo(np.float64).eps
    of_label = np.clip(probabilities[np.arange(rows), labels], eps, 1 - eps)
    found = averages(confusion)
    return {
        "accuracy": found.pop("accuracy"),
        **{
            f"top{k}_accuracy": float(np.average(rank < k, weights=row_weight))
            for rank in [_rank(probabilities, labels)]
            for k in ks
            if 1 < k < num_labels
        },
        **found,
        **_ranked(probabilities, labels, row_weight),
        "log_loss": float(np.average(-np.log(of_label), weights=row_weight)),
        "ece": expected_calibration_error(calibration),
        **per_class(confusion, names),
    }


def _rank(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes rank before the label; of equal scores the lower index does."""
    own = scores[np.arange(len(labels)), labels][:, None]
    lower = np.arange(scores.shape[1])[None] < labels[:, None]
    return ((scores > own) | ((scores == own) & lower)).sum(axis=1)


def _ranked(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """AUROC and average precision of class 1 of two, or the means over one-versus-rest."""
    two = probabilities.shape[1] == 2
    classes = [1] if two else np.unique(labels[weights > 0])
    columns = [(probabilities[:, one], labels == one, weights) for one in classes]
    return {
        "auroc": float(np.mean([auroc(*column) for column in columns])),
        "ap": float(np.mean([average_precision(*column) for column in columns])),
    }
