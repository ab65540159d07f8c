"""Shapley values against the mean over all orders, one by one."""

import itertools

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.metrics.shapley import shapley_values, subsets


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_values_are_the_mean_gain_over_all_orders(count):
    names = "abcde"[:count]
    rng = np.random.default_rng(count)
    scores = {one: float(rng.normal()) for one in subsets(names)}
    assert len(scores) == 2**count
    gains = {name: [] for name in names}
    for order in itertools.permutations(names):
        for at, name in enumerate(order):
            before = tuple(sorted(order[:at]))
            gains[name].append(scores[tuple(sorted((*before, name)))] - scores[before])
    found = shapley_values(scores, names)
    assert found == pytest.approx({name: np.mean(one) for name, one in gains.items()})
    assert sum(found.values()) == pytest.approx(scores[tuple(names)] - scores[()])


def test_every_subset_must_have_a_score():
    with pytest.raises(DataError, match="'b'"):
        shapley_values({(): 0.0, ("a",): 1.0, ("a", "b"): 2.0}, "ab")
