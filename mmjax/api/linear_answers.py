"""What a linear model on frozen vectors answers, in the form of a task's predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmjax.api import slicing
from mmjax.api.probing import L2, Linear, fit_linear
from mmjax.core.typing import Float, Shaped
from mmjax.metrics.multi_label import lrap_of_rows
from mmjax.train.evaluate import Evaluation

Vectors = Float[np.ndarray, "n d"]
Answers = Callable[[np.ndarray], np.ndarray]
"""From vectors to predictions."""


def key_of(task: Any) -> str:
    """What the predictions of a task are called."""
    return "values" if task.outputs_are == "values" else "probabilities"


def fits(task: Any, evaluation: Evaluation) -> bool:
    """Whether rows have one answer each: a class, a set of labels, or numbers."""
    kind = getattr(task, "outputs_are", None)
    found = np.asarray(evaluation.predictions.get(key_of(task) if kind else "", 0))
    truth = np.asarray(evaluation.targets.get(getattr(task, "target", ""), 0))
    numbers = kind == "values" and hasattr(task, "in_units")
    return (found.ndim, truth.ndim) == (2, 1 if kind == "classes" else 2) and (
        kind in ("classes", "labels") or numbers
    )


def row_scores(task: Any, evaluation: Evaluation) -> tuple[str, Float[np.ndarray, "n"]]:
    """A metric that is a mean over rows, and what it is the mean of.

    Accuracy of classes; label ranking average precision of labels, which needs no thresholds; and
    of numbers the mean absolute error in the data's units, NaN where a row has none.
    """
    if task.outputs_are == "labels":
        truth = np.asarray(evaluation.targets[task.target], bool)
        return "lrap", lrap_of_rows(np.asarray(evaluation.predictions[key_of(task)]), truth)
    metric = {"classes": "accuracy", "values": "mae"}[task.outputs_are]
    return metric, np.asarray(slicing.row_scores(task, evaluation, metric), np.float64)


def fit(
    task: Any,
    x: Vectors,
    y: Shaped[np.ndarray, "n ..."],
    known: tuple[Vectors, Shaped[np.ndarray, "m ..."]] | None,
    width: int,
) -> Answers:
    """A linear model for the targets of a task, whose penalty is the best on the rows `known`.

    Logistic regression of classes, of each label alone, or ridge regression of numbers; the
    smallest penalty without such rows. `width` is that of the predictions.
    """
    fitted, loss = {
        "classes": (_classes, _errors),
        "labels": (_labels, _log_loss),
        "values": (_numbers, _squares),
    }[task.outputs_are]
    if known is None:
        return fitted(x, y, L2[0], width)
    tried = [fitted(x, y, one, width) for one in sorted(L2, reverse=True)]
    return tried[int(np.argmin([loss(one(known[0]), known[1]) for one in tried]))]


def _classes(x: Vectors, y: np.ndarray, l2: float, width: int) -> Answers:
    one = fit_linear(x, y, l2=l2)

    def answer(vectors: Vectors) -> np.ndarray:
        whole = np.zeros((len(vectors), width))
        whole[:, one.classes] = one.probabilities(vectors)
        return whole

    return answer


def _labels(x: Vectors, y: np.ndarray, l2: float, width: int) -> Answers:
    several = [
        fit_linear(x, column, l2=l2) if column.any() and not column.all() else float(column.mean())
        for column in y.astype(np.int64).T
    ]

    def answer(vectors: Vectors) -> np.ndarray:
        def of(one: Linear | float) -> np.ndarray:
            if isinstance(one, float):
                return np.full(len(vectors), one)
            return one.probabilities(vectors)[:, 1]

        return np.stack([of(one) for one in several], axis=1)

    return answer


def _numbers(x: Vectors, y: np.ndarray, l2: float, width: int) -> Answers:
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1.0)
    rows = (x - mean) / deviation
    solved = [_ridge(rows[there], y[there, i], l2) for i, there in _there(y)]

    def answer(vectors: Vectors) -> np.ndarray:
        given = (vectors - mean) / deviation
        return np.stack([given @ weights + bias for weights, bias in solved], axis=1)

    return answer


def _there(y: np.ndarray) -> Sequence[tuple[int, np.ndarray]]:
    return [(i, np.isfinite(y[:, i])) for i in range(y.shape[1])]


def _ridge(x: Vectors, y: np.ndarray, l2: float) -> tuple[np.ndarray, float]:
    """The least mean squared error / 2 + l2 / 2 |weights|^2; the bias is free."""
    middle, level = x.mean(axis=0), float(y.mean())
    own = x - middle
    gram = own.T @ own / len(x) + l2 * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, own.T @ (y - level) / len(x))
    return weights, level - float(middle @ weights)


def _errors(found: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(found.argmax(axis=1) != y))


def _log_loss(found: np.ndarray, y: np.ndarray) -> float:
    inside = np.clip(found, 1e-9, 1 - 1e-9)
    return float(-np.mean(np.where(y, np.log(inside), np.log1p(-inside))))


def _squares(found: np.ndarray, y: np.ndarray) -> float:
    return float(np.nanmean((found - y) ** 2))
