"""Robustness from curves: against the formulas of MultiBench's script, and where it is nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.metrics.robustness import area, effective_robustness, relative_robustness

LEVELS = np.round(np.arange(11) / 10, 1).tolist()
SCORES = [0.779, 0.724, 0.6832, 0.6593, 0.5609, 0.5032, 0.4821, 0.4633, 0.4645, 0.443, 0.44]
LATE = [0.752, 0.71, 0.66, 0.64, 0.57, 0.51, 0.50, 0.47, 0.45, 0.45, 0.45]


def test_both_are_those_of_the_script_up_to_scale():
    their_area = sum((a + b) * 0.1 / 2 for a, b in itertools.pairwise(SCORES))
    assert area(LEVELS, SCORES) == pytest.approx(their_area)
    assert relative_robustness(LEVELS, SCORES) == pytest.approx(their_area / SCORES[0])
    f, late = np.array(SCORES), np.array(LATE)
    beta = late + (f[0] - late[0])
    gains = f - beta
    # Theirs is the plain sum; both ends count half in the mean of a curve.
    theirs = gains.sum() - (gains[0] + gains[-1]) / 2
    assert effective_robustness(LEVELS, SCORES, LATE) == pytest.approx(theirs / 10)


def test_levels_need_not_be_even_nor_end_at_one():
    assert area([0, 0.5, 0.6], [1, 1, 0]) == pytest.approx((0.5 + 0.05) / 0.6)
    assert relative_robustness([0, 0.3], [0.8, 0.8]) == pytest.approx(1.0)


def test_of_an_error_more_is_still_better():
    assert relative_robustness([0, 1], [1.0, 3.0], lower_is_better=True) == pytest.approx(0.5)
    worse = effective_robustness([0, 1], [1.0, 3.0], [2.0, 3.0], lower_is_better=True)
    assert worse == pytest.approx(-0.5)


def test_no_share_of_nothing():
    assert np.isnan(relative_robustness([0, 1], [0.0, 0.0]))
    assert np.isnan(relative_robustness([0, 1], [-0.5, 0.2]))
    with pytest.raises(DataError, match="two levels"):
        area([0.0], [1.0])
    with pytest.raises(DataError, match="ascending"):
        area([0.0, 0.0], [1.0, 1.0])
