"""Candidates ranked within their groups, of which each row is one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float, Int
from mmjax.metrics.ranking import ranking


def selection(
    scores: Float[np.ndarray, "n"],
    grades: Float[np.ndarray, "n"] | Int[np.ndarray, "n"],
    groups: Int[np.ndarray, "n"],
    *,
    ks: Sequence[int] = (1, 3, 5),
) -> dict[str, float]:
    """`mmjax.metrics.ranking` (MRR, MAP, precision, nDCG) of the candidates of each group.

    A candidate is right where its grade is above 0; groups without a right one are left out and
    counted. Of equal scores the earlier row ranks first. Raises DataError for lengths that differ.
    """
    scores, grades, groups = np.asarray(scores), np.asarray(grades), np.asarray(groups)
    if not len(scores) == len(grades) == len(groups):
        raise DataError(
            540,
            f"{len(scores)} scores, {len(grades)} grades, {len(groups)} groups",
            fix="one each a candidate",
        )
    _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(number, kind="stable")
    place = np.empty(len(order), np.int64)
    starts = np.cumsum(sizes) - sizes
    place[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    shape = (len(sizes), max(sizes.max(initial=0), 1))
    table, gains, hidden = np.zeros(shape), np.zeros(shape), np.ones(shape, bool)
    table[number, place], gains[number, place] = scores, grades
    hidden[number, place] = False
    return ranking(table, gains, ks=ks, exclude=hidden)
