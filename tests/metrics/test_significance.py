import subprocess
import sys

import numpy as np
import pytest

from mmjax import metrics
from mmjax.core.errors import DataError


def test_mean_and_spread():
    mean, spread = metrics.mean_and_spread([0.7, 0.8, 0.9])
    assert mean == pytest.approx(0.8)
    assert spread == pytest.approx(0.1)
    assert np.isnan(metrics.mean_and_spread([0.7])[1])
    with pytest.raises(DataError):
        metrics.mean_and_spread([])


def test_bootstrap_interval_agrees_with_resampled_rows():
    rng = np.random.default_rng(3)
    correct = rng.random(389) < 0.77
    resampled = rng.choice(correct, (10_000, 389)).mean(1)
    expected = np.quantile(resampled, [0.025, 0.975])
    found = metrics.bootstrap_interval(correct)
    np.testing.assert_allclose(found, expected, atol=0.004)
    assert found == metrics.bootstrap_interval(correct)
    assert found[0] < correct.mean() < found[1]


def test_bootstrap_interval_of_mean_is_that_of_the_normal_distribution_for_many_rows():
    values = np.random.default_rng(0).random(3000)
    low, high = metrics.bootstrap_interval_of_mean(values)
    error = 1.96 * values.std() / np.sqrt(len(values))
    np.testing.assert_allclose(
        [low, high], values.mean() + np.array([-error, error]), atol=0.1 * error
    )
    correct = values < 0.77
    ours = metrics.bootstrap_interval_of_mean(correct.astype(float))
    np.testing.assert_allclose(ours, metrics.bootstrap_interval(correct), atol=0.002)
    for bad in ([], [np.nan], [[1.0]]):
        with pytest.raises(DataError):
            metrics.bootstrap_interval_of_mean(np.array(bad))


def test_bootstrap_interval_refuses_what_is_not_right_or_wrong():
    for bad in ([], [0.5], [[True]]):
        with pytest.raises(DataError):
            metrics.bootstrap_interval(np.array(bad))


def test_no_scikit_learn_at_run_time():
    code = (
        "import sys, mmjax.metrics, mmjax.metrics.sums;"
        "sys.exit(any(m in sys.modules for m in ('sklearn', 'scipy.stats', 'matplotlib', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
