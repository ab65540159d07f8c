"""Folds trained by the command: what is written, what a second call repeats, what is refused."""

from __future__ import annotations

import dataclasses
import json

import made_runs
import numpy as np
import pytest
import tiny_run

from mmjax.api import cross_validation
from mmjax.api.cross_validation import cross_validate, fold_splits, prepared, with_all_names
from mmjax.api.run import load_run
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.cli import main
from mmjax.core.errors import CheckpointError, ConfigError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return made_runs.config(tmp_path_factory.mktemp("cv"))


@pytest.fixture(scope="module")
def validated(config, tmp_path_factory):
    """A folder with two folds, made by the command."""
    folder = tmp_path_factory.mktemp("folds")
    path = tiny_run.write_config(folder / "config.py", config)
    with pytest.MonkeyPatch.context() as patch, tiny_run.one_device():
        tiny_run.plain_figures(patch)
        tiny_run.numpy_start(patch)
        assert main(["cv", str(path), "--folds", "2", "--workdir", str(folder / "cv")]) == 0
    return folder / "cv"


def test_every_row_is_predicted_by_a_run_that_did_not_see_it(validated):
    lines = [json.loads(one) for one in (validated / "out_of_fold.jsonl").read_text().splitlines()]
    assert [one["row"] for one in lines] == list(range(40))
    for fold in (0, 1):
        splits = read_json(validated / f"fold_{fold}" / "processors" / "splits.json")["splits"]
        mine = [one["row"] for one in lines if one["fold"] == fold]
        assert mine == splits["test"]
        assert not set(mine) & {*splits["train"], *splits["validation"]}
    some = [one for one in lines if one["fold"] == 1]
    again = load_run(validated / "fold_1").predict(split="test")
    assert [one["label"] for one in again] == [one["label"] for one in some]


def test_mean_and_spread_are_those_of_the_folds(validated):
    lines = [json.loads(one) for one in (validated / "out_of_fold.jsonl").read_text().splitlines()]
    truth = [row["kind"] for row in tiny_run.rows_of()]
    found = read_json(validated / "cv.json")["metrics"]["accuracy"]
    expected = [
        np.mean([one["label"] == truth[one["row"]] for one in lines if one["fold"] == fold])
        for fold in (0, 1)
    ]
    assert found["values"] == pytest.approx(expected)
    assert found["mean"] == pytest.approx(np.mean(expected))
    assert found["spread"] == pytest.approx(np.std(expected, ddof=1))
    assert "Fold 2" in (validated / "report.html").read_text()


def test_a_finished_fold_is_not_trained_again(config, validated, monkeypatch):
    asked = []
    monkeypatch.setattr(cross_validation, "fit_run", lambda *args, **_: asked.append(args[1]))
    with pytest.raises(CheckpointError, match="--resume"):
        cross_validate(config, validated, folds=2)
    with pytest.raises(ConfigError, match="folds: 2 -> 3"):
        cross_validate(config, validated, folds=3, resume=True)
    assert len(cross_validate(config, validated, folds=2, resume=True).metrics) == 2
    held = validated / "fold_1" / "out_of_fold.jsonl"
    kept = held.read_text()
    held.unlink()
    try:
        with RunFolder(validated / "fold_1").lock():
            assert cross_validate(config, validated, folds=2, resume=True).unfinished == (1,)
        assert asked == []
        cross_validate(config, validated, folds=2, resume=True)
        assert asked == [validated / "fold_1"]
    finally:
        held.write_text(kept)


def test_folds_of_the_rows_without_the_test_rows(config):
    whole = prepared(config)
    test = set(whole.rows("test").tolist())
    for one in fold_splits(whole, 3, without_test=True, choose=False):
        assert list(one) == ["train", "validation"]
        assert not test & {*one["train"].tolist(), *one["validation"].tolist()}
    assert with_all_names(config, whole).data.targets["label"].options["names"] == tiny_run.LABELS
    objectives = dataclasses.replace(config, objectives={"clip": Spec("clip")})
    with pytest.raises(ConfigError, match="objectives"):
        cross_validate(objectives, "nowhere")
