"""Paired tests against SciPy's binomial test, closed forms, and a worked example."""

import numpy as np
import pytest
from scipy import stats

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.metrics.paired import draws


@pytest.mark.parametrize(("a", "b"), [(10, 25), (3, 3), (0, 6), (40, 41), (0, 0)])
def test_mcnemar_is_the_binomial_test_of_the_rows_they_disagree_on(a, b):
    first = np.r_[np.ones(a), np.zeros(b), np.ones(7), np.zeros(4)].astype(bool)
    second = np.r_[np.zeros(a), np.ones(b), np.ones(7), np.zeros(4)].astype(bool)
    found = metrics.mcnemar(first, second)
    assert (found.first_only, found.second_only) == (a, b)
    expected = stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert found.p == pytest.approx(expected, rel=1e-12)


def test_mcnemar_of_the_textbook():
    # Agresti, Categorical Data Analysis, approval ratings: 150 and 86 changed their minds.
    first = np.r_[np.ones(150), np.zeros(86)].astype(bool)
    assert metrics.mcnemar(first, ~first).p == pytest.approx(3.716e-5, rel=1e-3)


def test_the_paired_bootstrap_of_a_mean_is_the_paired_t_interval():
    rng = np.random.default_rng(1)
    first = rng.normal(0, 1, 900)
    second = first + rng.normal(0.02, 0.3, 900)
    apart = second - first
    sampled = np.array([apart[at].mean() for at in draws(900, resamples=4000, seed=2)])
    found = metrics.difference(apart.mean(), sampled)
    low, high = stats.t.interval(0.95, 899, apart.mean(), stats.sem(apart))
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=0.05 * (high - low))
    assert found.p == pytest.approx(stats.ttest_rel(second, first).pvalue, abs=0.02)


def test_what_is_not_defined_is_nan_and_equal_models_are_equal():
    nothing = metrics.difference(0.1, np.array([np.nan, np.nan, 1.0]))
    assert np.isnan([nothing.low, nothing.high, nothing.p]).all()
    assert metrics.difference(0.0, np.zeros(50)).p == 1.0
    assert metrics.difference(1.0, np.ones(99)).p == pytest.approx(0.02)
    with pytest.raises(DataError):
        metrics.mcnemar(np.array([True]), np.array([True, False]))
    with pytest.raises(DataError):
        draws(0, resamples=3)


def test_holm_is_as_in_his_paper():
    assert metrics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = metrics.holm([0.6, float("nan"), 0.7])
    assert found[0] == found[2] == 1.0
    assert np.isnan(found[1])
