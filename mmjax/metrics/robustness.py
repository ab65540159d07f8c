"""How well a score holds as inputs are made worse, from the score at each severity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError


def area(levels: Sequence[float], scores: Sequence[float]) -> float:
    """The mean height of the curve of scores over severities, by the trapezoidal rule.

    Raises DataError unless there are two levels or more, ascending, and a score for each.
    """
    at, values = _curve(levels, scores)
    return float(np.trapezoid(values, at) / (at[-1] - at[0]))


def relative_robustness(
    levels: Sequence[float], scores: Sequence[float], *, lower_is_better: bool = False
) -> float:
    """The share of the first score that stays on average: `area` over the score at the first level.

    MultiBench's relative robustness (Liang et al. 2021; their eval_scripts/robustness.py) is that
    area itself, by the same rule at steps of 0.1, brought to [0, 1] over the methods compared.

    Of an error, the first over the area: 1 is always "as good as at first". NaN where the first
    score or the area is not above 0, since there is no share of nothing.
    """
    whole, first = area(levels, scores), float(scores[0])
    if not (first > 0 and whole > 0):
        return float("nan")
    return first / whole if lower_is_better else whole / first


def effective_robustness(
    levels: Sequence[float],
    scores: Sequence[float],
    reference: Sequence[float],
    *,
    lower_is_better: bool = False,
) -> float:
    """How much better a curve is than a reference's that is moved to the same first score.

    The mean over severities (by the trapezoidal rule) of f - (g + f_0 - g_0), f being the scores
    and g those of the reference: what is won beyond being better on clean inputs, an idea of Taori
    et al. 2020. MultiBench (Liang et al. 2021; their eval_scripts/robustness.py) adds these
    differences up over its levels, so that the number depends on how many there are; its reference
    is late fusion. Of an error the sign is turned, so that above 0 is better.
    """
    at, values = _curve(levels, scores)
    _, others = _curve(levels, reference)
    gains = values - (others + values[0] - others[0])
    found = float(np.trapezoid(gains, at) / (at[-1] - at[0]))
    return -found if lower_is_better else found


def _curve(levels: Sequence[float], scores: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    at, values = np.asarray(levels, np.float64), np.asarray(scores, np.float64)
    if at.ndim != 1 or len(at) < 2 or not (np.diff(at) > 0).all() or values.shape != at.shape:
        raise DataError(
            540,
            f"{values.size} scores at levels {list(levels)}",
            fix="two levels or more, ascending, and a score for each",
        )
    return at, values
