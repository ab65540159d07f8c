"""Metrics of anomaly scores against scikit-learn, and the threshold against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from mmjax.core.errors import ConfigError, DataError
from mmjax.metrics import anomaly
from mmjax.metrics.anomaly import threshold_at


@pytest.mark.parametrize("seed", range(6))
def test_all_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(5, 200))
    kinds = rng.integers(0, 3, rows)
    kinds[:3] = [0, 1, 2]
    # Ties, and at the threshold too.
    scores = np.round(rng.normal(size=rows) + 0.7 * (kinds > 0), 1)
    cut = float(scores[rng.integers(rows)])
    truth, alarms = kinds > 0, scores > cut
    found = anomaly(scores, truth, threshold=cut, kinds=kinds, kind_names=("n", "a", "b", "none"))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found["ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found["detection_rate"] == pytest.approx(recall_score(truth, alarms))
    assert found["precision"] == pytest.approx(precision_score(truth, alarms, zero_division=0))
    assert found["false_alarm_rate"] == pytest.approx(1 - recall_score(~truth, ~alarms))
    assert found["alarm_rate"] == pytest.approx(alarms.mean())
    for kind, name in enumerate(("n", "a", "b")):
        rows_of = (kinds == 0) | (kinds == kind)
        if kind:
            expected = roc_auc_score(kinds[rows_of] == kind, scores[rows_of])
            assert found[f"auroc/{name}"] == pytest.approx(expected, abs=1e-12)
    assert "auroc/n" not in found
    assert "auroc/none" not in found


def test_what_is_not_defined_is_nan():
    nothing = anomaly(np.arange(3.0), np.zeros(3, bool))
    assert np.isnan(list(nothing.values())).all()
    all_wrong = anomaly(np.ones(2), np.ones(2, bool), threshold=1.0)
    assert np.isnan([all_wrong["auroc"], all_wrong["false_alarm_rate"]]).all()
    assert (all_wrong["ap"], all_wrong["detection_rate"]) == (1.0, 0.0)
    assert all_wrong["precision"] == 0.0
    tied = anomaly(np.ones(4), np.array([0, 1, 0, 1]))
    assert (tied["auroc"], tied["ap"]) == (0.5, 0.5)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.07, 0.29, 0.5, 0.99])
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_the_threshold_lets_so_many_through_and_no_lower_one_does(rate, rows):
    scores = np.random.default_rng(rows).permutation(rows).astype(float)
    cut = threshold_at(scores, rate)
    above = int((scores > cut).sum())
    assert above == int(round(rate * rows, 9))
    ties = np.round(scores / 5)
    cut = threshold_at(ties, rate)
    lower = [one for one in np.unique(ties) if one < cut]
    assert (ties > cut).mean() <= rate + 1e-12
    assert all((ties > one).mean() > rate for one in lower)


def test_wrong_input_is_refused():
    with pytest.raises(DataError, match="NaN"):
        anomaly(np.array([0.0, np.nan]), np.zeros(2, bool))
    with pytest.raises(DataError, match="shape"):
        anomaly(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(ConfigError, match=r"1\.0"):
        threshold_at(np.zeros(3), 1.0)
