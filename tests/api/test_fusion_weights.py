"""Weights of a fusion, against runs that have them, and against sums of probabilities."""

from __future__ import annotations

import dataclasses

import made_runs
import numpy as np
import pytest
import tiny_run

from mmjax.api.fusion_weights import search_weights
from mmjax.api.run import Run
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.train.config_file import load_config

NAMES = ("table", "text")
"""In the order in which weights are told."""


@pytest.fixture(scope="module")
def summed(tmp_path_factory):
    values = {"text": 1.5, "table": 0.5}
    fusion = Spec("weighted_sum", width=8, weights="fixed", values=values)
    with tiny_run.one_device():
        folder = tmp_path_factory.mktemp("summed")
        yield made_runs.made(made_runs.config(folder, text=True, fusion=fusion), folder / "run")


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    with tiny_run.one_device():
        folder = tmp_path_factory.mktemp("decided")
        config = made_runs.config(folder, text=True, fusion=Spec("decision"))
        yield made_runs.made(config, folder / "run")


def test_each_point_is_worth_what_a_run_with_these_weights_is(
    summed, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("mmjax.api.run.load_run", lambda folder: summed)
    command = ["tune", str(summed.folder.path), "--find", "fusion-weights", "--parts", "4"]
    assert main([*command, "--folds", "2", "--workdir", str(tmp_path)]) == 0
    assert "chosen on other rows" in capsys.readouterr().out
    found = search_weights(summed, split="all", metric="log_loss", parts=4)
    np.testing.assert_allclose(found.points.sum(axis=1), 2.0)
    assert found.rows == 40
    assert found.score == found.scores.min()
    own = found.points.tolist().index([0.5, 1.5])
    assert found.scores[own] == pytest.approx(found.own, rel=1e-5)
    values = dict(zip(NAMES, found.points[3].tolist(), strict=True))
    other = Run(summed.folder.path)
    other._loaded = summed._loaded
    best = load_config(tmp_path / "best.json")
    other.__dict__["config"] = config_lib.override(best, {"model.fusion.values": values})
    assert other.evaluate(split="all")["log_loss"] == pytest.approx(found.scores[3], rel=1e-5)


def test_decisions_are_mixed_by_their_shares(decided):
    found = search_weights(decided, split="all", metric="accuracy", parts=5, folds=4)
    seen = decided.evaluation(split="all")
    table, text = (seen.predictions[f"{name}_probabilities"] for name in NAMES)
    for point, score in zip(found.points, found.scores, strict=True):
        mixed = point[0] * table + point[1] * text
        assert score == pytest.approx((mixed.argmax(1) == seen.targets["label"]).mean())
    best = [found.best[name] for name in NAMES]
    assert found.score == found.scores.max() == found.scores[found.points.tolist().index(best)]
    # Of equal scores that which is nearest to equal shares.
    equal = found.points[found.scores == found.score]
    assert abs(best[0] - 0.5) == pytest.approx(np.abs(equal[:, 0] - 0.5).min())


def test_what_has_no_weights_is_refused(summed, decided):
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        search_weights(summed, metric="acuracy")
    with pytest.raises(ConfigError, match="parts = 0"):
        search_weights(summed, parts=0)
    changed = dataclasses.replace(decided.config.model, fusion=Spec("concat", width=8))
    run = Run(decided.folder.path)
    run.__dict__["config"] = dataclasses.replace(decided.config, model=changed)
    with pytest.raises(ConfigError, match="'concat' has no weights"):
        search_weights(run)
