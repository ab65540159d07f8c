"""How far a measured number can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool


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
