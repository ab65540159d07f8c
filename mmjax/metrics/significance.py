"""How far a measured number can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool, Float

_AT_ONCE = 2**22


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the sample standard deviation (n - 1; NaN of a single value)."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise DataError(540, f"values have shape {list(array.shape)}", fix="give at least one")
    return float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else float("nan")


def bootstrap_interval(
    correct: Bool[np.ndarray, "n"],
    *,
    seed: int = 0,
    resamples: int = 10_000,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile bootstrap interval of accuracy (Efron 1979): how much the test rows decide.

    `correct` says of each row whether it was right. It holds no spread over training seeds.
    """
    outcomes = np.asarray(correct)
    if outcomes.ndim != 1 or not outcomes.size or not np.isin(outcomes, (0, 1)).all():
        raise DataError(540, "correct is no list of true and false", fix="give one value a row")
    # Of n values that are 0 or 1, the sum of n draws with replacement is a binomial number.
    rng = np.random.default_rng(seed)
    means = rng.binomial(outcomes.size, outcomes.mean(), resamples) / outcomes.size
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval_of_mean(
    values: Float[np.ndarray, "n"],
    *,
    seed: int = 0,
    resamples: int = 2_000,
    level: float = 0.95,
) -> tuple[float, float]:
    """As `bootstrap_interval`, of the mean of numbers that rows have, such as of several queries
    each.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
        raise DataError(540, "values are no list of numbers", fix="give one finite value a row")
    means = resampled_means(numbers, np.random.default_rng(seed), resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled_means(
    values: Float[np.ndarray, "n"], rng: np.random.Generator, resamples: int = 2_000
) -> Float[np.ndarray, "resamples"]:
    """Means of as many values, drawn with replacement."""
    step = max(1, _AT_ONCE // values.size)
    means = [
        values[rng.integers(0, values.size, (min(step, resamples - start), values.size))].mean(1)
        for start in range(0, resamples, step)
    ]
    return np.concatenate(means)
