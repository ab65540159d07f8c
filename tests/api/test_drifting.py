"""Rows that moved away from those that a run was measured on, and rows that did not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api import drifting, reference
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, DataError
from mmjax.data.pipeline import prepare

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    shutil.copytree(trained, folder)
    with tiny_run.one_device():
        run = mmjax.load_run(folder)
        rows = tiny_run.write_data(folder.parent / "first", 48, seed=5)
        reference.remember(run, str(rows))
    return run


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """One class alone, in other words, half of it without its picture."""
    folder = tmp_path_factory.mktemp("moved")
    path = tiny_run.write_data(folder, 96, seed=6)
    rows = [row for row in tiny_run.read_rows(path) if row["kind"] == "fish"]
    for index, row in enumerate(rows):
        row["words"] = "zq xv jj"
        row["picture"] = "" if index % 2 else row["picture"]
    return tiny_run.write_rows(path, rows)


def test_rows_like_those_before_alarm_nobody(run, tmp_path):
    path = tiny_run.write_data(tmp_path, 48, seed=7)
    found = run.drift(str(path), out=tmp_path / "drift.json")
    assert found.reference_rows == 48
    assert {one.kind for one in found.measures} == set(drifting.RULES) - {"surge"}
    assert {one.of for one in found.measures if one.kind == "embedding"} == {
        "fused",
        "text",
        "image",
    }
    quiet = {one.kind for one in found.alarms}
    assert not quiet & {"embedding", "prediction", "missing"}
    stored = json.loads((tmp_path / "drift.json").read_text())
    assert stored == found.as_json()


def test_rows_that_moved_do(run, moved, capsys):
    folder = str(run.folder.path)
    assert main(["drift", folder, "--data", str(moved), "--fail"]) == 1
    told = capsys.readouterr().out
    assert "ALARM" in told
    found = run.drift(str(moved))
    alarms = {(one.kind, one.of) for one in found.alarms}
    assert {("embedding", "text"), ("embedding", "fused"), ("missing", "image")} <= alarms
    missing = next(one for one in found.measures if one.of == "image" and one.kind == "missing")
    assert (missing.before, missing.after) == (0.0, 0.5)
    # No rule is so strict that nothing passes it.
    loose = dict.fromkeys(drifting.RULES, 10.0)
    assert not run.drift(str(moved), rules=loose).alarms
    with pytest.raises(ConfigError, match="did you mean 'missing'"):
        run.drift(str(moved), rules={"mising": 1.0})


def test_predictions_alone_will_do(run, tmp_path, capsys):
    lines = [
        {"answer": {"label": "fish", "probability": 0.99}, "missing": ["image"]} for _ in range(40)
    ]
    path = tmp_path / "served.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    arguments = ["drift", str(run.folder.path), "--predictions", str(path)]
    assert main([*arguments, "--rule", "prediction=0.5"]) == 0
    assert "3 alarms" in capsys.readouterr().out
    found = run.drift(predictions=lines)
    assert {one.kind for one in found.alarms} == {"prediction", "confidence", "missing"}
    path.write_text("{")
    assert main(arguments) == 2
    assert "no JSON" in capsys.readouterr().err
    assert main(arguments[:2]) == 2
    assert "--data or --predictions" in capsys.readouterr().err
    with pytest.raises(DataError, match="no predictions"):
        run.drift(predictions=[])


def test_what_answers_of_any_task_say():
    said, numbers = reference._told(
        [
            {"sign": {"label": "stop", "probability": 0.9}, "text": "two words"},
            {"sign": {"label": "go", "probability": 0.6}, "text": "one"},
            {"labels": ["a", "b"], "probabilities": {"a": 1.0, "b": 0.5}, "boxes": [{}, {}]},
            {"values": {"price": 2.0}, "boxes": []},
            {"values": {"price": 4.0}, "score": 1},
        ]
    )
    assert said == {"a": 1, "b": 1, "sign/go": 1, "sign/stop": 1}
    assert numbers["sign/confidence"].tolist() == [0.9, 0.6]
    assert numbers["words"].tolist() == [2.0, 1.0]
    assert numbers["boxes"].tolist() == [2.0, 0.0]
    assert numbers["price"].tolist() == [2.0, 4.0]
    assert "score" not in numbers


def test_a_reference_is_kept_whole(run, tmp_path):
    again = reference.recalled(run)
    assert again.rows == 48
    assert set(again.vectors) == {"fused", "text", "image"}
    assert np.isfinite(again.vectors["fused"]).all()
    shutil.copytree(run.folder.path, tmp_path / "run")
    path = tmp_path / "run" / reference.FOLDER / reference.VECTORS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="reference is damaged"):
        mmjax.load_run(tmp_path / "run").drift(predictions=[{"label": "fish"}])


def test_training_keeps_the_reference(trained, monkeypatch):
    run = mmjax.load_run(trained)
    kept = reference.recalled(run)
    assert kept is not None
    assert not kept.vectors
    rows = len(run.dataset().splits["test"])
    assert (kept.rows, sum(kept.said.values())) == (rows, rows)
    assert len(kept.numbers["confidence"]) == rows
    assert kept.measured["accuracy"] == pytest.approx(run.metrics["test"]["accuracy"])
    # Where the data are gone, what was kept still is what new rows are held to.
    monkeypatch.setattr(drifting, "remember", _gone)
    assert drifting._reference(run, vectors=True).said == kept.said
    monkeypatch.setattr(drifting, "recalled", lambda run: None)
    with pytest.raises(DataError, match="changed"):
        drifting._reference(run, vectors=False)


def test_an_export_keeps_the_vectors_of_test_rows(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    run = mmjax.load_run(tmp_path / "run")
    before = reference.recalled(run)
    run.export(tmp_path / "out", batch_sizes=(2,), platforms=("cpu",))
    after = reference.recalled(run)
    assert (after.said, after.present, after.measured) == (
        before.said,
        before.present,
        before.measured,
    )
    dataset = run.dataset()
    expected = run.embed_dataset(dataset, "test")
    assert set(after.vectors) == set(expected) - {"ids"}
    assert len(after.vectors["fused"]) == after.rows
    np.testing.assert_allclose(after.vectors["fused"], expected["fused"], atol=1e-5)
    assert {name: len(after.vectors[name]) for name in after.present} == after.present


def _gone(run):
    raise DataError(223, "the data has changed")


def test_surges_of_bad_news_are_alarms_too():
    alarm = {"topic": "oil", "time": "2026-02-03", "alarm": True, "p": 1e-5}
    periods = [
        {**alarm, "time": "2026-02-02", "alarm": False},
        alarm,
        {**alarm, "time": "2026-02-04"},
        {"topic": "gold", "time": "2026-02-02", "alarm": False, "p": 0.3},
    ]
    oil, gold = drifting._surges(periods, 0.0)
    assert (oil.of, oil.value, oil.p, oil.alarm) == ("oil on 2026-02-03", 1.0, 1e-5, True)
    assert (gold.of, gold.value, gold.alarm) == ("gold", 0.0, False)
    assert not drifting._surges(periods, 1.0)[0].alarm
    with pytest.raises(ConfigError, match="without rows"):
        mmjax.drift("nowhere", predictions=[], time="date")


def test_the_finance_scenario_alarms_on_the_day_of_the_surge(tmp_path):
    """And on no other, nor of another topic: headlines by topic over time, and a run's scores."""
    whole = config_lib.load(ROOT / "configs" / "scenario_finance.py")
    lengths = ("duration", "evaluate_every", "save_every")
    whole = config_lib.override(whole, [f"train.{one}=3 epochs" for one in lengths])
    run = mmjax.train(whole, tmp_path / "run")
    table, rows = prepare(whole.data).table, prepare(whole.data).rows("test")
    news = {k: [cells[row] for row in rows] for k, cells in table.columns.items() if k != "split"}
    found = mmjax.drift(run, news, time="date", topic="topic")
    assert [one.kind for one in found.alarms] == ["surge"]
    assert found.alarms[0].of == "banks on 2024-05-26"
    assert {one.of for one in found.measures if one.kind == "surge"} > {"energy", "retail"}
