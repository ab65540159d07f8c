"""Whether one model is better than another on the very rows that both were measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import bdtr

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class McNemar:
    """Rows that one of two models alone got right, and how likely so uneven a division is."""

    first_only: int
    second_only: int
    p: float


def mcnemar(first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"]) -> McNemar:
    """McNemar's exact test (1947) of two models' right answers on the same rows.

    `p` is two-sided: twice the binomial probability of at most the smaller count among the rows on
    which the models disagree, if each were as likely; 1 where they never do. Agrees with
    statsmodels' `mcnemar(exact=True)`. Raises DataError for lists that are not of true and false,
    and of unequal length.
    """
    right = [np.asarray(one) for one in (first, second)]
    if right[0].shape != right[1].shape or right[0].ndim != 1 or not right[0].size:
        raise DataError(540, "the two lists are not of the same rows", fix="one value a row each")
    if not all(np.isin(one, (0, 1)).all() for one in right):
        raise DataError(540, "values are not true or false", fix="whether each row was right")
    a, b = (one.astype(bool) for one in right)
    only = int((a & ~b).sum()), int((b & ~a).sum())
    fewer, both = min(only), sum(only)
    p = 1.0 if both == 0 else min(1.0, 2.0 * float(bdtr(float(fewer), both, 0.5)))
    return McNemar(*only, p)


def draws(rows: int, *, resamples: int, seed: int = 0) -> Iterator[Int[np.ndarray, "n"]]:
    """Positions drawn with replacement, as many as there are rows, to be the same for all models.

    Raises DataError for fewer than one row or resample.
    """
    if rows < 1 or resamples < 1:
        raise DataError(540, f"{resamples} resamples of {rows} rows", fix="1 or more of both")
    rng = np.random.default_rng(seed)
    return (rng.integers(0, rows, rows) for _ in range(resamples))


@dataclasses.dataclass(frozen=True)
class Difference:
    """By how much a metric differs, its percentile interval, and a two-sided p."""

    value: float
    low: float
    high: float
    p: float


def difference(
    value: float, resampled: Float[np.ndarray, "resample"], *, level: float = 0.95
) -> Difference:
    """A paired bootstrap's verdict on a difference (Efron and Tibshirani 1993, chapters 13, 16).

    `value` is the difference on the rows, `resampled` on each resample of them, of which those
    that are not defined are left out; NaN throughout if that is more than half. `p` is twice the
    share of resamples on the other side of 0, each resample counted in with the rows themselves, so
    that it is never 0.
    """
    known = np.asarray(resampled, np.float64)
    known = known[np.isfinite(known)]
    if not np.isfinite(value) or 2 * len(known) <= len(resampled):
        return Difference(float(value), float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    tails = [int((known <= 0).sum()), int((known >= 0).sum())]
    p = min(1.0, 2.0 * (min(tails) + 1) / (len(known) + 1))
    return Difference(float(value), float(low), float(high), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979) of several tests at once; NaN counts as no test."""
    p = np.asarray(p_values, np.float64)
    known = np.flatnonzero(np.isfinite(p))
    found = np.full(len(p), np.nan)
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return found.tolist()
