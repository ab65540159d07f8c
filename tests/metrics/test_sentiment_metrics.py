"""Sentiment against the formulas that MMSA and MulT evaluate with, written with scikit-learn."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import sklearn.metrics as reference

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.metrics.sentiment import METRICS, sentiment_from_sums, sentiment_sums
from mmjax.metrics.sums import merge


def random_case(seed=0, rows=80):
    """Half the targets are halves, so that rounding and zero are met; some are out of range."""
    rng = np.random.default_rng(seed)
    targets = np.where(np.arange(rows) % 2, rng.integers(-6, 7, rows) / 2, rng.normal(0, 2, rows))
    predictions = np.where(np.arange(rows) % 3, targets + rng.normal(0, 1, rows), targets.round())
    predictions[::9] = 0
    return predictions.astype(np.float32), targets.astype(np.float32)


def expected(predictions, targets):
    """What MMSA's `__eval_mosei_regression` gives, and MulT's accuracy of all rows."""
    found = {
        "mae": np.mean(np.abs(np.float64(predictions) - targets)),
        "corr": np.corrcoef(np.float64(predictions), targets)[0, 1],
    }
    for most, name in ((3.0, "acc7"), (2.0, "acc5")):
        cut = [np.round(np.clip(one, -most, most)) for one in (predictions, targets)]
        found[name] = np.sum(cut[0] == cut[1]) / len(targets)
    signs = {
        "has0": (targets >= 0, predictions >= 0),
        "non0": (targets[targets != 0] > 0, predictions[targets != 0] > 0),
        "pos": (targets > 0, predictions > 0),
    }
    for name, (truth, said) in signs.items():
        found[f"acc2_{name}"] = reference.accuracy_score(truth, said)
        found[f"f1_{name}"] = reference.f1_score(truth, said, average="weighted", zero_division=0)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_evaluation_codes(seed):
    predictions, targets = random_case(seed)
    found = metrics.sentiment(predictions, targets)
    assert tuple(found) == METRICS
    assert found == pytest.approx(expected(predictions, targets), rel=1e-12)
    assert metrics.sentiment(predictions[:, None], targets[:, None]) == found


def test_by_hand():
    # Halves round to even numbers, what is out of range counts as the end of it.
    found = metrics.sentiment([-3.6, 0.5, 2.5, -0.0, 1.0], [-3.0, 0.0, 3.0, -1.0, 0.0])
    assert found["acc7"] == 2 / 5  # 2.5 becomes 2, and 1 is not 0
    assert found["acc5"] == 3 / 5
    assert found["acc2_has0"] == 4 / 5  # 0 is non-negative, -1 is not
    assert found["acc2_non0"] == 1.0  # a prediction of 0 is negative here
    assert found["acc2_pos"] == 3 / 5
    assert found["f1_has0"] == pytest.approx(2 / 5 * 2 / 3 + 3 / 5 * 6 / 7)


def test_edges():
    nothing = metrics.sentiment([], [])
    assert tuple(nothing) == METRICS
    assert np.isnan(list(nothing.values())).all()
    targets = np.array([1.0, 2.0, 0.5])
    one_class = metrics.sentiment([1.0, -1.0, 0.5], targets)
    assert one_class == pytest.approx(expected(np.array([1.0, -1.0, 0.5]), targets))
    zeros = metrics.sentiment([0.3, -0.2], [0.0, 0.0])
    assert [name for name in METRICS if np.isnan(zeros[name])] == ["corr", "acc2_non0", "f1_non0"]
    assert (zeros["acc2_has0"], zeros["acc2_pos"]) == (0.5, 0.5)
    same = metrics.sentiment(np.full(3, 0.1), targets)
    assert np.isnan(same["corr"])
    assert same["acc2_non0"] == 1.0
    unknown = metrics.sentiment([5.0, 1.0, 2.0], [np.nan, 1.0, -2.0])
    assert unknown == pytest.approx(metrics.sentiment([1.0, 2.0], [1.0, -2.0]), nan_ok=True)
    assert np.isnan(list(metrics.sentiment([1.0], [np.nan]).values())).all()


def test_sums_over_shards():
    predictions, targets = random_case(4)
    targets[3] = np.nan
    rows = np.ones(len(targets), np.float32)
    padded = [np.concatenate([one, np.full(4, 9, np.float32)]) for one in (predictions, targets)]
    rows = np.concatenate([rows, np.zeros(4, np.float32)])
    sums = None
    add = jax.jit(sentiment_sums)
    for start in range(0, 84, 12):
        part = add(*(one[start : start + 12] for one in (*padded, rows)))
        sums = part if sums is None else merge(sums, part)
    found = sentiment_from_sums(jax.device_get(sums))
    assert tuple(found) == METRICS
    assert found == pytest.approx(metrics.sentiment(predictions, targets), rel=1e-5)
    none = sentiment_from_sums(
        jax.device_get(add(*(one[:12] for one in padded), rows[-4:].repeat(3)))
    )
    assert np.isnan(list(none.values())).all()


def test_what_is_refused():
    with pytest.raises(DataError, match="MMX-540"):
        metrics.sentiment([1.0, 2.0], [1.0])
    with pytest.raises(DataError, match="MMX-540"):
        metrics.sentiment(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(DataError, match="MMX-542"):
        metrics.sentiment([np.inf, 1.0], [1.0, 1.0])
