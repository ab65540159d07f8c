"""Probes of frozen vectors, against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mmjax.api import probing
from mmjax.api.probing import fit_linear, knn_probe, linear_probe
from mmjax.core.errors import ConfigError, DataError

ROWS, WIDTH, CLASSES = 120, 6, 4


def blobs(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(CLASSES, WIDTH))
    y = rng.integers(0, CLASSES, rows)
    x = (centres[y] + 0.9 * rng.normal(size=(rows, WIDTH))) * np.logspace(-1, 2, WIDTH) + 5
    return x, np.array(["ant", "bee", "cat", "dog"])[y]


@pytest.mark.parametrize(("l2", "device"), [(1e-1, False), (1e-3, False), (1e-3, True)])
def test_a_linear_probe_is_logistic_regression(l2, device, monkeypatch):
    if device:
        monkeypatch.setattr(probing, "_FEW", 0)
    (x, y), (new, truth) = blobs(), blobs(1, 50)
    scaler = StandardScaler().fit(x)
    reference = LogisticRegression(C=1 / (ROWS * l2), tol=1e-10, max_iter=5000)
    reference.fit(scaler.transform(x), y)
    want = reference.predict_proba(scaler.transform(new))
    fitted = fit_linear(x, y, l2=l2)
    assert fitted.classes.tolist() == reference.classes_.tolist()
    np.testing.assert_allclose(fitted.probabilities(new), want, atol=1e-3)
    found = linear_probe(x, y, new, truth, l2=l2)
    predicted = reference.predict(scaler.transform(new))
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["log_loss"] == pytest.approx(log_loss(truth, want), rel=1e-3)
    assert found["l2"] == l2


def test_the_penalty_is_chosen_on_validation_rows():
    (x, y), (new, truth), chosen_on = blobs(), blobs(1, 50), blobs(2, 60)
    tried = (1e-3, 1e-1, 30.0)
    alone = {one: linear_probe(x, y, *chosen_on, l2=one)["accuracy"] for one in tried}
    found = linear_probe(x, y, new, truth, l2=tried, validation=chosen_on)
    best = max(tried, key=lambda one: (alone[one], one))
    assert found == linear_probe(x, y, new, truth, l2=best)
    assert len(set(alone.values())) > 1


def test_a_vote_of_neighbours():
    (x, y), (new, truth) = blobs(), blobs(1, 50)
    reference = KNeighborsClassifier(
        12, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.1)
    ).fit(x, y)
    found = knn_probe(x, y, new, truth, k=12, temperature=0.1)
    assert found["accuracy"] == pytest.approx(reference.score(new, truth))
    eps = np.finfo(np.float64).eps
    want = np.clip(reference.predict_proba(new), eps, 1 - eps)
    at = np.searchsorted(reference.classes_, truth)
    assert found["log_loss"] == pytest.approx(-np.log(want[np.arange(50), at]).mean(), rel=1e-5)
    apart = np.random.default_rng(3).normal(size=(ROWS, 9))
    cold = knn_probe(apart, y, apart, y, k=500, temperature=1e-3)
    assert cold["accuracy"] == 1.0


def test_a_class_that_was_never_trained_on_is_wrong():
    x, y = blobs()
    known = y != "bee"
    found = knn_probe(x[known], y[known], x, y)
    assert found["recall/bee"] == 0
    assert found["support/bee"] == (~known).sum()
    assert set(found) == set(knn_probe(x, y, x, y))


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"train_y": ["a"] * 4}, "MMX-543: labels of 1 class"),
        ({"train_y": ["a", "b"]}, "MMX-540: vectors have shape [4, 2], labels [2]"),
        ({"train_x": np.full((4, 2), np.inf)}, "MMX-542: vectors are not finite"),
    ],
)
def test_bad_input_is_refused(probe, arguments, told):
    good = {"train_x": np.eye(4, 2), "train_y": list("abab")}
    with pytest.raises(DataError) as error:
        probe(**{**good, "test_x": np.eye(2), "test_y": list("ab"), **arguments})
    assert told in str(error.value)


def test_settings_out_of_range_are_refused():
    given = (np.eye(4, 2), list("abab"), np.eye(2), list("ab"))
    for l2 in ((), (1.0, 0.1), -1.0):
        with pytest.raises(ConfigError, match="MMX-106: l2"):
            linear_probe(*given, l2=l2)
    for setting in ({"k": 0}, {"temperature": 0.0}):
        with pytest.raises(ConfigError, match="MMX-106: k"):
            knn_probe(*given, **setting)
