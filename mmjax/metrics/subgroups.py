"""A number that rows have, such as being right, compared between groups of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float
from mmjax.metrics.significance import bootstrap_interval_of_mean, resampled_means

_SHUFFLES = 1_000


@dataclasses.dataclass(frozen=True)
class Group:
    """The rows of one name, their mean, and its 95 % interval over rows."""

    name: str
    rows: int
    mean: float
    interval: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Compared:
    """Groups by their means, largest first, and how far apart the first and the last are."""

    groups: tuple[Group, ...]
    gap: float
    interval: tuple[float, float]
    """95 %, of the difference between these two groups, over rows."""
    chance: float
    """How often groups of these sizes are as far apart when rows are dealt to them at random: what
    tells a gap from the choice of the two that are farthest apart."""


def compare(
    values: Float[np.ndarray, "n"], groups: Sequence[str | None], *, least: int = 5, seed: int = 0
) -> Compared | None:
    """The means of `values` by group, rows of None and groups of fewer than `least` rows left out.

    Intervals are percentile bootstraps (Efron 1979), `chance` is a permutation test of the range of
    means (add-one, Phipson and Smyth 2010). None if fewer than two groups are left. Raises
    DataError for values that are not one finite number a row.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (len(groups),) or not np.isfinite(numbers).all():
        raise DataError(540, "values are no list of numbers", fix="give one finite value a row")
    names, places = np.unique([one or "" for one in groups], return_inverse=True)
    counts = np.bincount(places, minlength=len(names))
    known = np.isin(np.arange(len(names)), places[[one is not None for one in groups]])
    kept = np.flatnonzero((counts >= least) & known)
    if len(kept) < 2:
        return None
    rows = [numbers[places == one] for one in kept]
    found = sorted(
        (
            Group(str(names[one]), len(own), float(own.mean()), bootstrap_interval_of_mean(own))
            for one, own in zip(kept, rows, strict=True)
        ),
        key=lambda one: -one.mean,
    )
    gap = found[0].mean - found[-1].mean
    by_name = dict(zip((str(names[one]) for one in kept), rows, strict=True))
    first, last = by_name[found[0].name], by_name[found[-1].name]
    rng = np.random.default_rng(seed)
    apart = resampled_means(first, rng) - resampled_means(last, rng)
    low, high = np.quantile(apart, [0.025, 0.975])
    chance = _chance(np.concatenate(rows), [len(own) for own in rows], gap, rng)
    return Compared(tuple(found), gap, (float(low), float(high)), chance)


def _chance(
    values: np.ndarray, sizes: Sequence[int], gap: float, rng: np.random.Generator
) -> float:
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    as_far = 0
    for _ in range(_SHUFFLES):
        means = np.add.reduceat(rng.permutation(values), starts) / sizes
        # Sums in another order differ in their last digits.
        as_far += bool(means.max() - means.min() >= gap - 1e-12)
    return (as_far + 1) / (_SHUFFLES + 1)
