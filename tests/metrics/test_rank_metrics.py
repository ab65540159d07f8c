import warnings

import numpy as np
import pytest
import sklearn.metrics as reference

from mmjax import metrics


@pytest.mark.parametrize("present", [5, [0, 2, 4], [3]])
def test_agrees_with_scikit_learn(present):
    rng = np.random.default_rng(0)
    labels = rng.choice(present, 80)
    predictions = np.clip(labels + rng.integers(-2, 3, 80), 0, 4)
    found = metrics.ordinal(predictions, labels, 5, label_names=list("abcde"))
    ranks = range(5)
    assert found["quadratic_kappa"] == pytest.approx(
        reference.cohen_kappa_score(labels, predictions, labels=ranks, weights="quadratic")
    )
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(labels, predictions))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predictions))
    assert found["within_one"] == np.mean(np.abs(labels - predictions) <= 1)
    of_rank = [
        reference.mean_absolute_error(labels[labels == rank], predictions[labels == rank])
        for rank in np.unique(labels)
    ]
    assert found["macro_mae"] == pytest.approx(np.mean(of_rank))
    assert found["support/c"] == (labels == 2).sum()


def test_all_of_one_rank_has_no_kappa_and_no_rows_are_nan():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.ordinal(np.ones(3, int), np.ones(3, int), 4)
        nothing = metrics.ordinal(np.zeros(0, int), np.zeros(0, int), 4)
    assert np.isnan(found["quadratic_kappa"])
    assert found["mae"] == 0.0
    assert nothing.keys() == found.keys()
    assert all(np.isnan(value) for value in nothing.values())
