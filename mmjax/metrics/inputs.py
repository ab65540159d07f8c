"""Checks of what the host functions are given; one clear DataError each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError


def labels_in_range(labels: np.ndarray, num_labels: int, name: str = "labels") -> np.ndarray:
    """`labels` as int64 [n]; every value must be a whole number in [0, num_labels)."""
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise DataError(540, f"{name} have shape {list(labels.shape)}", fix="expected [n]")
    if labels.size and labels.dtype.kind not in "iub":
        raise DataError(541, f"{name} are {labels.dtype}", fix="expected integers")
    outside = np.flatnonzero((labels < 0) | (labels >= num_labels))
    if outside.size:
        raise DataError(
            541,
            f"{name} contain {labels[outside[0]]}",
            where=f"row {outside[0]}",
            fix=f"expected 0 to {num_labels - 1}",
        )
    return labels.astype(np.int64)


def probability_rows(probabilities: np.ndarray) -> np.ndarray:
    """`probabilities` as float64 [n c], n > 0 and c > 1, each row a distribution to 1 %."""
    values = np.asarray(probabilities)
    if values.ndim != 2 or values.shape[1] < 2:
        raise DataError(
            540,
            f"probabilities have shape {list(values.shape)}",
            fix="expected [n c] with c at least 2; one column of p becomes [1 - p, p]",
        )
    if not len(values):
        raise DataError(540, "probabilities have no rows", fix="expected at least one")
    values = values.astype(np.float64)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise DataError(
            542,
            f"probabilities are not finite: {values[row].tolist()[:8]}",
            where=f"row {row}",
            fix="look for a diverged model or a bad input in that row",
        )
    wrong = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > 0.01)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            542,
            f"not probabilities: {values[row].tolist()[:8]} sum to {values[row].sum():.4g}",
            where=f"row {row}",
            fix="apply a softmax to logits first",
        )
    return values


def row_weights(weights: np.ndarray | None, rows: int) -> np.ndarray:
    """`weights` as float64 [rows], ones if None; none negative, not all 0."""
    if weights is None:
        return np.ones(rows)
    values = np.asarray(weights)
    if values.shape != (rows,):
        raise DataError(540, f"weights have shape {list(values.shape)}", fix=f"expected [{rows}]")
    values = values.astype(np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise DataError(
            542,
            "weights are negative, not finite, or all 0",
            fix="expected finite numbers of at least 0",
        )
    return values


def names_of(label_names: Sequence[str] | None, num_labels: int) -> list[str]:
    """One distinct name a class; their numbers if there are none."""
    if label_names is None or not len(label_names):
        return [str(i) for i in range(num_labels)]
    names = [str(name) for name in label_names]
    if len(names) != num_labels:
        raise DataError(
            543, f"{len(names)} label names for {num_labels} classes", fix="give one name a class"
        )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(
            543, f"label name '{name}' stands for {count} classes", fix="make names distinct"
        )
    return names
