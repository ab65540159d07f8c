"""Linear models of frozen vectors for each kind of answer, against scikit-learn's."""

import types

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import label_ranking_average_precision_score

from mmjax import tasks
from mmjax.api import before_after, linear_answers
from mmjax.api.before_after import PROBE, ZERO_SHOT
from mmjax.core.files import read_json
from mmjax.train.evaluate import Evaluation

RNG = np.random.default_rng(0)
X, NEW = RNG.normal(1.0, 2.0, (60, 4)), RNG.normal(size=(7, 4))
SCALED = [(one - X.mean(axis=0)) / X.std(axis=0) for one in (X, NEW)]
WEIGHTS = RNG.normal(size=(4, 3))
NUMBERS = {
    "num_targets": 2,
    "target_names": ("a", "b"),
    "target_means": (10.0, 0.0),
    "target_deviations": (2.0, 1.0),
}


def task(name, **facts):
    return tasks.registry.build(name, facts=facts)


def test_labels_are_each_told_by_a_regression_of_their_own():
    y = SCALED[0] @ WEIGHTS + RNG.normal(size=(60, 3)) > 0
    y[:, 2] = True
    labels = task("multi_label", num_labels=3)
    found = linear_answers.fit(labels, X, y, None, 3)(NEW)
    for column in range(2):
        fitted = LogisticRegression(C=1 / (1e-6 * 60), max_iter=10_000, tol=1e-10)
        wanted = fitted.fit(SCALED[0], y[:, column]).predict_proba(SCALED[1])[:, 1]
        np.testing.assert_allclose(found[:, column], wanted, atol=5e-3)
    assert (found[:, 2] == 1).all()


def test_numbers_are_told_by_the_ridge_that_is_best_on_known_rows():
    y = SCALED[0] @ WEIGHTS[:, :2] + 3 + RNG.normal(size=(60, 2))
    y[5, 1] = np.nan
    known = RNG.normal(size=(30, 4)), RNG.normal(3.0, 1.0, (30, 2))
    model = linear_answers.fit(task("regression", **NUMBERS), X, y, known, 2)
    tried = []
    for l2 in sorted(10.0 ** np.arange(-6, 1.0), reverse=True):
        parts = [np.isfinite(y[:, i]) for i in range(2)]
        fitted = [
            Ridge(alpha=l2 * some.sum()).fit(SCALED[0][some], y[some, i])
            for i, some in enumerate(parts)
        ]

        def answer(x, fitted=fitted):
            rows = (x - X.mean(axis=0)) / X.std(axis=0)
            return np.stack([one.predict(rows) for one in fitted], axis=1)

        tried.append((np.mean((answer(known[0]) - known[1]) ** 2), answer(NEW)))
    np.testing.assert_allclose(model(NEW), min(tried, key=lambda one: one[0])[1], rtol=1e-6)


def test_rows_are_scored_by_what_is_a_mean_over_them():
    scores, truth = RNG.random((20, 4)), RNG.random((20, 4)) > 0.6
    one = Evaluation({}, {"probabilities": scores}, {"label": truth}, np.arange(20), {})
    name, found = linear_answers.row_scores(task("multi_label", num_labels=4), one)
    assert name == "lrap"
    assert found.mean() == pytest.approx(label_ranking_average_precision_score(truth, scores))
    values, numbers = np.float64([[1, 2], [0, 0], [3, 3]]), np.zeros((3, 2))
    numbers[0, 1], numbers[2] = np.nan, np.nan
    one = Evaluation({}, {"values": values}, {"label": numbers}, np.arange(3), {})
    name, found = linear_answers.row_scores(task("regression", **NUMBERS), one)
    np.testing.assert_allclose(found, [2.0, 0.0, np.nan])
    spans = types.SimpleNamespace(outputs_are="classes", target="label")
    each = Evaluation({}, {"probabilities": np.ones((3, 5, 2))}, {"label": np.ones((3, 5))}, 0, {})
    assert linear_answers.fits(task("regression", **NUMBERS), one)
    assert not linear_answers.fits(spans, each)


def test_a_run_of_numbers_is_told_beside_the_probe_alone(tmp_path, monkeypatch):
    truth = np.float32([[0, 0], [1, 1], [2, 0], [0, 1]])
    tuned, probe = truth + 0.5, truth - 1.0
    run = types.SimpleNamespace(
        module=types.SimpleNamespace(task=task("regression", **NUMBERS)),
        config=types.SimpleNamespace(init=None),
        folder=types.SimpleNamespace(path=tmp_path),
    )
    monkeypatch.setattr(before_after, "_probe", lambda *_: probe)
    evaluation = Evaluation({"mae": 0.75}, {"values": tuned}, {"label": truth}, np.arange(4), {})
    found = before_after.measured(run, None, evaluation, "test")
    assert found[PROBE].metrics["mae"] == pytest.approx(1.5)
    told = read_json(tmp_path / "before_after.json")
    assert told["models"]["tuned"]["mae"] == pytest.approx(0.75)
    assert told["gained"][PROBE]["value"] == pytest.approx(-0.75)
    assert before_after.lines(run) == [
        "tuned minus pretrained, linear probe: mae -0.750 (95 %: -0.750 to -0.750)",
        f"not measured: {ZERO_SHOT}, since only classes have names, of which one is chosen",
    ]
    again = before_after.kept(run, evaluation)[PROBE]
    np.testing.assert_array_equal(again.predictions["values"], probe)
