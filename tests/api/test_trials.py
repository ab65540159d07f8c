"""Trials that are trainings: what a search goes by, what it keeps, and what it ends early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import tiny_run

from mmjax.api.run import load_run
from mmjax.api.study import Study
from mmjax.api.trials import Pruned, Training, curve, free_folder
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json
from mmjax.train.config_file import load_config

SPACE = """
from mmjax.core.space import Choice

def get_space():
    return {"optimizer.learning_rate": Choice(1e-2)}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    data = tiny_run.write_data(tmp_path_factory.mktemp("trials"))
    short = ("train.duration=4 steps", "train.evaluate_every=2 steps", "train.ema_decay=0")
    return tiny_run.plain(data, "text", *short)


def test_the_command_searches_and_writes_a_config_that_trains(
    config, tmp_path, monkeypatch, capsys
):
    tiny_run.numpy_start(monkeypatch)
    monkeypatch.setattr(Study, "importance", lambda self: {})
    path = tiny_run.write_config(tmp_path / "config.py", config)
    path.write_text(path.read_text() + SPACE)
    folder = tmp_path / "search"
    assert main(["tune", str(path), "--sampler", "grid", "--workdir", str(folder)]) == 0
    assert "trial 0 of 20  complete" in capsys.readouterr().out
    (trial,) = read_json(folder / "trials.json")["trials"]
    steps = {int(step): value for step, value in trial["curve"].items()}
    assert steps == curve(folder / "trial_0000", "accuracy")
    assert list(steps) == [2, 4]
    assert trial["value"] == max(steps.values())
    run = load_run(folder / "trial_0000")
    assert run.evaluate(split="validation")["accuracy"] == trial["value"]
    best = load_config(folder / "best.json")
    assert best.optimizer.learning_rate == 1e-2
    assert config_lib.to_json(best)["data"] == run.folder.read_config()["data"]
    # Finished: the same command again trains nothing.
    again = ["tune", str(path), "--sampler", "grid", "--workdir", str(folder), "--resume"]
    monkeypatch.setattr(Training, "__call__", None)
    assert main(again) == 0
    with pytest.raises(ConfigError, match="no config file"):
        load_config(tmp_path / "bset.json")


def test_a_training_that_is_worse_on_the_way_ends_there(config, tmp_path, monkeypatch):
    tiny_run.numpy_start(monkeypatch)
    asked = []

    def report(step, value):
        asked.append(step)
        return True

    with pytest.raises(Pruned):
        Training()(config, tmp_path / "trial", report)
    assert asked == [2]
    status = read_json(tmp_path / "trial" / "status.json")
    assert status["stopped_early"].startswith("a search")
    with RunFolder(tmp_path / "trial").lock():
        assert free_folder(tmp_path / "trial") == tmp_path / "trial_2"
    assert free_folder(tmp_path / "trial") == tmp_path / "trial"


def test_folds_are_each_a_training_on_rows_without_the_test_rows(config, tmp_path, monkeypatch):
    told, splits = [], []

    def trained(self, config, folder, dataset, report, *, title):
        splits.append({name: rows.tolist() for name, rows in dataset.splits.items()})
        return float(len(splits))

    monkeypatch.setattr(Training, "_train", trained)
    value = Training(folds=3)(config, tmp_path, lambda *one: bool(told.append(one)))
    assert value == 2.0
    assert told == [(1, 1.0), (2, 1.5), (3, 2.0)]
    held = [row for one in splits for row in one["validation"]]
    assert len(held) == len(set(held)) == 36
    with pytest.raises(Pruned):
        Training(folds=3)(config, tmp_path, lambda step, value: step == 2)
    no_validation = config_lib.override(config, ["data.split.fractions=(0.9,0,0.1)"])
    with pytest.raises(ConfigError, match="no validation rows"):
        Training().check(no_validation)


@pytest.mark.slow
def test_a_killed_search_is_finished_by_two_processes_that_repeat_nothing(config, tmp_path):
    """Some tens of seconds: three processes compile a training each."""
    slower = ("train.duration=120 steps", "train.evaluate_every=40 steps")
    path = tiny_run.write_config(tmp_path / "config.py", config_lib.override(config, slower))
    path.write_text(path.read_text() + SPACE.replace("1e-2", "1e-4, 1e-3, 1e-2, 3e-2"))
    folder = tmp_path / "search"
    command = [sys.executable, "-m", "mmjax", "tune", str(path), "--sampler", "grid"]
    command += ["--pruner", "none", "--workdir", str(folder)]

    def begin(*more: str) -> subprocess.Popen:
        return subprocess.Popen([*command, *more], env=tiny_run.environment())

    first = begin()
    second = folder / "trial_0001" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not (second.is_file() and second.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = folder / "trial_0000" / "metrics.jsonl"
    before = done.stat().st_mtime_ns, done.read_bytes()
    others = [begin("--resume") for _ in range(2)]
    assert [one.wait(600) for one in others] == [0, 0]
    assert (done.stat().st_mtime_ns, done.read_bytes()) == before
    trials = read_json(folder / "trials.json")["trials"]
    assert sorted(one["state"] for one in trials) == ["complete"] * 4
    assert sorted(one["folder"] for one in trials) == [f"trial_000{i}" for i in range(4)]
    points = [one["params"]["optimizer.learning_rate"] for one in trials]
    assert sorted(points) == [1e-4, 1e-3, 1e-2, 3e-2]
