"""Runs on the same rows: values against the predictions themselves, and what is not comparable."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_run
from scipy import stats

from mmjax.api.comparing import compare
from mmjax.api.run import Run
from mmjax.checkpoint.store import Checkpoints
from mmjax.cli import main
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json


@pytest.fixture(scope="module")
def pair(trained, tmp_path_factory):
    """A run, and an earlier checkpoint of it in a folder of its own."""
    folder = tmp_path_factory.mktemp("earlier") / "earlier"
    shutil.copytree(trained, folder)
    with Checkpoints(folder / "checkpoints", readonly=True) as checkpoints:
        first = min(checkpoints.steps())
    with tiny_run.one_device():
        yield Run(trained, step="latest"), Run(folder, step=first)


def test_differences_are_those_of_the_predictions(pair):
    found = compare(*pair, split="all", resamples=40, metrics=("accuracy", "log_loss"))
    assert found.runs == ("run", "earlier")
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
    test = found.mcnemar["earlier"]
    assert (test.first_only, test.second_only) == only
    assert found.rows == 40
    json.dumps(found.as_json(), allow_nan=False)


def test_the_command_writes_what_it_shows(pair, tmp_path, capsys):
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


def test_runs_that_cannot_be_compared_are_refused(pair, trained, tmp_path):
    with pytest.raises(ConfigError, match="two or more"):
        compare(pair[0])
    with pytest.raises(ConfigError, match="itself"):
        compare(pair[0], pair[0])
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        compare(*pair, metrics=("acuracy",), resamples=1)
    # A run whose test rows are others: its splits say so.
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    splits = read_json(other / "processors" / "splits.json")
    test, validation = splits["splits"]["test"], splits["splits"]["validation"]
    splits["splits"] |= {"test": validation, "validation": test}
    (other / "processors" / "splits.json").write_text(json.dumps(splits))
    with pytest.raises(DataError, match=r"different rows: 4 only in run \(r\d+"):
        compare(pair[0], Run(other), resamples=1)
