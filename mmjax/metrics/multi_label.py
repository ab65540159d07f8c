"""Metrics of rows that may have any number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool, Float
from mmjax.metrics.inputs import names_of
from mmjax.metrics.ranks import matrix, mean, yes_or_no
from mmjax.metrics.scores import auroc, average_precision


def multi_label(
    probabilities: Float[np.ndarray, "n v"],
    labels: Bool[np.ndarray, "n v"],
    *,
    thresholds: Float[np.ndarray, "v"] | float = 0.5,
    label_names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Every multi-label metric as a flat dict, in float64.

    A label is predicted where its probability is at least its threshold. Of what is predicted:
    - `precision/<name>`, `recall/<name>`, `f1/<name>`, and `support/<name>`, the rows that have it.
    - `macro_...`: plain means over all labels; `weighted_...`: weighted by support; `micro_...`: of
      all cells together; `samples_...`: means over rows. 0 where a denominator is 0.
    - `subset_accuracy`: rows all of whose labels are right. `hamming_loss`: wrong cells.

    Of the probabilities alone:
    - `ap/<name>`, `auroc/<name>`: NaN for a label that no row has (for `auroc` also one that all
      have); `map`, `macro_auroc` are means over the others, `micro_ap` is that of all cells.
    - `lrap`: label ranking average precision; 1 for a row with none or all of the labels.

    Agrees with scikit-learn, whose averages these are (`zero_division=0`). Raises DataError for
    shapes that do not fit, no rows, probabilities outside [0, 1], and labels other than yes or no.
    """
    scores = matrix(probabilities, "probabilities").astype(np.float64)
    inside = (scores >= 0) & (scores <= 1)
    if not inside.all():
        row, column = np.argwhere(~inside)[0].tolist()
        raise DataError(
            542,
            f"probability {scores[row, column]}",
            where=f"row {row}, column {column}",
            fix="apply a sigmoid to logits first",
        )
    truth = yes_or_no(labels, scores.shape, "labels")
    names = names_of(label_names, scores.shape[1])
    predicted = scores >= np.asarray(thresholds, np.float64)
    right = predicted & truth
    found = of_counts(right.sum(0), predicted.sum(0), truth.sum(0), names)
    columns = [(scores[:, i], truth[:, i]) for i in range(len(names))]
    ap = [average_precision(*column) for column in columns]
    area = [auroc(*column) for column in columns]
    own = precision_recall_f1(right.sum(1), predicted.sum(1), truth.sum(1))
    wrong = predicted != truth
    return {
        "macro_f1": found.pop("macro_f1"),
        "micro_f1": found.pop("micro_f1"),
        "map": _mean_of_known(ap),
        "micro_ap": average_precision(scores.ravel(), truth.ravel()),
        "macro_auroc": _mean_of_known(area),
        "subset_accuracy": float((~wrong.any(axis=1)).mean()),
        "hamming_loss": float(wrong.mean()),
        "lrap": mean(lrap_of_rows(scores, truth)),
        **{f"samples_{name}": float(value.mean()) for name, value in own.items()},
        **found,
        **{f"ap/{name}": value for name, value in zip(names, ap, strict=True)},
        **{f"auroc/{name}": value for name, value in zip(names, area, strict=True)},
    }


def of_counts(
    right: Float[np.ndarray, "v"],
    predicted: Float[np.ndarray, "v"],
    support: Float[np.ndarray, "v"],
    names: Sequence[str],
) -> dict[str, float]:
    """What follows from how often each label was predicted, was there, and was both."""
    counts = [np.asarray(one, np.float64) for one in (right, predicted, support)]
    each = precision_recall_f1(*counts)
    together = precision_recall_f1(*(one.sum(keepdims=True) for one in counts))
    total = counts[2].sum()
    return {
        **{f"macro_{name}": float(value.mean()) for name, value in each.items()},
        **{f"micro_{name}": float(value[0]) for name, value in together.items()},
        **{
            f"weighted_{name}": float((value * counts[2]).sum() / total) if total else 0.0
            for name, value in each.items()
        },
        **{
            f"{metric}/{name}": float(value[i])
            for i, name in enumerate(names)
            for metric, value in {**each, "support": counts[2]}.items()
        },
    }


def precision_recall_f1(
    right: Float[np.ndarray, "k"], predicted: Float[np.ndarray, "k"], there: Float[np.ndarray, "k"]
) -> Mapping[str, Float[np.ndarray, "k"]]:
    """Shares of counts; 0 where the denominator is 0."""
    return {
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, there),
        "f1": _ratio(2 * right, predicted + there),
    }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


def _mean_of_known(values: Sequence[float]) -> float:
    return mean(np.asarray([value for value in values if value == value]))


def lrap_of_rows(
    scores: Float[np.ndarray, "n v"], truth: Bool[np.ndarray, "n v"]
) -> Float[np.ndarray, "n"]:
    """Of each relevant label, the share of relevant ones among those that score as high or higher;
    the mean of a row, 1 where none or all are relevant.

    Tsoumakas et al. 2010, "Mining Multi-label Data", section 34.6.2.
    """
    found = np.ones(len(scores))
    for place, (row, relevant) in enumerate(zip(-scores, truth, strict=True)):
        if relevant.any() and not relevant.all():
            own = row[relevant]
            among = np.searchsorted(np.sort(own), own, side="right")
            found[place] = (among / np.searchsorted(np.sort(row), own, side="right")).mean()
    return found
