"""Two samples against each other: closed forms, SciPy's own, and how often chance alarms."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from mmjax.core.errors import DataError
from mmjax.metrics.drift import (
    distribution_distance,
    mean_discrepancy,
    share_change,
    stability_index,
)

RNG = np.random.default_rng(0)


def test_mean_discrepancy_is_that_of_the_paper():
    first, second = RNG.normal(size=(12, 3)), RNG.normal(size=(9, 3)) + 0.5
    both = np.concatenate([first, second])
    distances = np.linalg.norm(both[:, None] - both[None], axis=-1)[np.triu_indices(21, 1)]
    gamma = 1 / (2 * np.median(distances**2))
    parts = [rbf_kernel(a, b, gamma) for a, b in ((first, first), (second, second))]
    own = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in parts)
    expected = own - 2 * rbf_kernel(first, second, gamma).mean()
    found = mean_discrepancy(first, second)
    assert found["mmd"] == pytest.approx(expected)
    # Of 1 + 200 relabellings, this one is always among those that count.
    assert 1 / 201 <= found["p"] <= 1
    apart = mean_discrepancy(first, second + 5)
    assert apart["p"] == pytest.approx(1 / 201)
    assert mean_discrepancy(np.ones((4, 2)), np.ones((3, 2))) == {"mmd": 0.0, "p": 1.0}
    with pytest.raises(DataError, match="two or more"):
        mean_discrepancy(first[:1], second)


def test_chance_is_what_p_says():
    draws = [mean_discrepancy(*RNG.normal(size=(2, 15, 2)), permutations=60) for _ in range(60)]
    assert np.mean([one["p"] <= 0.1 for one in draws]) < 0.25


def test_stability_index_in_closed_form():
    found = stability_index(np.array([50, 50]), np.array([80, 20]))
    a, b = np.array([50.5, 50.5]) / 101, np.array([80.5, 20.5]) / 101
    assert found["psi"] == pytest.approx(float(((b - a) * np.log(b / a)).sum()))
    assert found["p"] < 1e-4
    same = stability_index(np.array([5, 0, 5]), np.array([50, 0, 50]))
    assert same["psi"] < 0.02
    assert same["p"] == pytest.approx(1.0)
    assert stability_index(np.array([3]), np.array([4]))["p"] == 1.0
    with pytest.raises(DataError, match="rows of each"):
        stability_index(np.array([0, 0]), np.array([1, 2]))


def test_numbers_and_shares():
    found = distribution_distance(np.array([1.0, 2, 3, np.nan]), np.array([2.5, 3.5, 4.5]))
    assert found["ks"] == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="0 and 1 numbers"):
        distribution_distance(np.array([np.nan]), np.array([1.0]))
    change = share_change((1, 100), (30, 100))
    assert change["change"] == pytest.approx(0.29)
    assert change["p"] < 1e-6
    assert share_change((5, 50), (5, 50))["p"] == pytest.approx(1.0)
    with pytest.raises(DataError, match="shares of 0"):
        share_change((0, 0), (1, 2))
