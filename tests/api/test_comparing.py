"""Runs on the same rows: values against the predictions themselves, and what is not comparable."""

from __future__ import annotations

import json

import made_runs
import numpy as np
import pytest
import tiny_run
from scipy import stats

from mmjax.api.comparing import compare
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two runs on the same rows, with other parameters."""
    folder = tmp_path_factory.mktemp("pair")
    config = made_runs.config(folder)
    with tiny_run.one_device():
        yield (
            made_runs.made(config, folder / "run", seed=1),
            made_runs.made(config, folder / "other", seed=2),
        )


def test_differences_are_those_of_the_predictions(pair):
    found = compare(*pair, split="all", resamples=40, metrics=("accuracy", "log_loss"))
    assert found.runs == ("run", "other")
    measured = [run.evaluation(split="all") for run in pair]
    chances = [one.predictions["probabilities"] for one in measured]
    truth = measured[0].targets["label"]
    hits = [one.argmax(1) == truth for one in chances]
    losses = [-np.log(one[np.arange(len(truth)), truth]) for one in chances]
    accuracy, log_loss = found.compared
    assert accuracy.difference.value == pytest.approx(hits[1].mean() - hits[0].mean())
    assert log_loss.difference.value == pytest.approx(losses[1].mean() - losses[0].mean(), rel=1e-5)
    apart = losses[1] - losses[0]
    width = 2 * stats.norm.ppf(0.975) * stats.sem(apart)
    assert log_loss.difference.high - log_loss.difference.low == pytest.approx(width, rel=0.5)
    only = int((hits[0] & ~hits[1]).sum()), int((hits[1] & ~hits[0]).sum())
    test = found.mcnemar["other"]
    assert (test.first_only, test.second_only) == only
    assert found.rows == 40
    json.dumps(found.as_json(), allow_nan=False)


def test_the_command_writes_what_it_shows(pair, tmp_path, capsys, monkeypatch):
    known = {str(run.folder.path): run for run in pair}
    monkeypatch.setattr("mmjax.api.comparing.load_run", known.get)
    paths = [str(run.folder.path) for run in pair]
    shared = ["--split", "all", "--resamples", "5", "--out", str(tmp_path)]
    assert main(["compare", *paths, *shared]) == 0
    out = capsys.readouterr().out
    assert "macro_f1" in out
    assert "McNemar" in out
    found = read_json(tmp_path / "comparison.json")
    assert {one["metric"] for one in found["metrics"]} >= {"accuracy", "macro_f1", "auroc", "ece"}
    page = (tmp_path / "report.html").read_text()
    assert "Only run right" in page


def test_runs_that_cannot_be_compared_are_refused(pair, tmp_path):
    with pytest.raises(ConfigError, match="two or more"):
        compare(pair[0])
    with pytest.raises(ConfigError, match="itself"):
        compare(pair[0], pair[0])
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        compare(*pair, metrics=("acuracy",), resamples=1)
    # A run whose test rows are others.
    config = config_lib.override(pair[0].config, ["data.split.seed=5"])
    with pytest.raises(DataError, match=r"different rows: \d only in run \(r\d+"):
        compare(pair[0], made_runs.made(config, tmp_path / "others"), resamples=1)
    # A run that predicts another column of the same rows.
    config = config_lib.override(pair[0].config, ["data.targets.label.column=place"])
    config = config_lib.override(config, ["data.split.stratify=kind"])
    with pytest.raises(DataError, match=r"in one run and .(land|sea). in the other"):
        compare(pair[0], made_runs.made(config, tmp_path / "place"), resamples=1)
