"""A search on disk: shared by processes, left by dead ones, gone on with.

Trials are stubs, but for a few at the end that are trainings.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import made_runs
import pytest
import tiny_run

from mmjax.api import hyperparameters
from mmjax.api import study as study_module
from mmjax.api.cross_validation import prepared
from mmjax.api.hyperparameters import tune
from mmjax.api.run import load_run
from mmjax.api.study import Study
from mmjax.api.trials import Pruned, Training, curve, free_folder
from mmjax.checkpoint.lock import Holder
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, NumericError
from mmjax.core.files import read_json
from mmjax.core.space import Choice, FloatRange, IntRange, When
from mmjax.train.config import Config, TrainConfig
from mmjax.train.config_file import load_config

SPACE = {
    "optimizer.learning_rate": FloatRange(1e-5, 1e-1, log=True),
    "optimizer.name": Choice("adamw", "sgd"),
    "optimizer.momentum": When("optimizer.name", "sgd", FloatRange(0.0, 0.9)),
}
CONFIG = Config(train=TrainConfig(best_metric="loss"))


@pytest.fixture(autouse=True)
def no_importance(monkeypatch, request):
    """What mattered is told by a part of Optuna that takes longest to import."""
    if "importance" not in request.node.name:
        monkeypatch.setattr(Study, "importance", lambda self: {})


def in_a_process(work) -> int:
    """The process id of a fork that does `work`, which must not touch JAX."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(1)


def test_processes_share_a_search_and_what_a_dead_one_left_is_tried_once_more(tmp_path):
    log = tmp_path / "log"
    Study(tmp_path / "s", SPACE, lower=True)  # its imports are not made three times over

    def work(die_at: int | None, limit: int) -> None:
        study = Study(tmp_path / "s", SPACE, lower=True, seed=3)
        done = 0
        while (trial := study.claim(limit)) is not None:
            with log.open("a") as file:
                file.write(json.dumps([trial.folder, trial.params]) + "\n")
            if done == die_at:
                os._exit(9)
            time.sleep(0.01)
            trial.complete(trial.params["optimizer.learning_rate"])
            done += 1
        os._exit(0)

    first = in_a_process(lambda: work(1, 5))
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 9
    others = [in_a_process(lambda: work(None, 5)) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in others] == [0, 0]
    tried = [json.loads(line) for line in log.read_text().splitlines()]
    # One finished, one was left, and that one is tried again in its folder, with its point.
    counts = Counter(folder for folder, _ in tried)
    assert counts.pop("trial_0001") == 2
    assert set(counts.values()) == {1}
    assert len(counts) == 4
    assert tried[2] == tried[1]
    records = Study(tmp_path / "s", SPACE, lower=True).records()
    assert [one.state for one in records if not one.again] == ["complete"] * 5
    assert [(one.number, one.note) for one in records if one.again] == [(1, "its process is gone")]
    assert len({json.dumps(one.params) for one in records if not one.again}) == 5


def objective(config, folder, report):
    """Best at a learning rate of 1e-3; a wrong one is seen on the way."""
    value = abs(config.optimizer.learning_rate - 1e-3)
    for step in (1, 2):
        if report(step, value + 1 / step):
            raise Pruned
    return value


def test_a_search_goes_on_where_it_stopped_and_finds_what_is_best(tmp_path):
    tried = []

    def counted(config, folder, report):
        if len(tried) == 2:
            raise KeyboardInterrupt
        tried.append(config.optimizer.learning_rate)
        return objective(config, folder, report)

    whole = tune(CONFIG, SPACE, tmp_path / "whole", trials=4, pruner="none", objective=objective)
    with pytest.raises(KeyboardInterrupt):
        tune(CONFIG, SPACE, tmp_path / "s", trials=4, pruner="none", objective=counted)
    with pytest.raises(CheckpointError, match="--resume"):
        tune(CONFIG, SPACE, tmp_path / "s", trials=4, pruner="none", objective=objective)
    with pytest.raises(ConfigError, match="pruner: none -> median"):
        tune(CONFIG, SPACE, tmp_path / "s", trials=4, resume=True, objective=objective)
    told = []
    found = tune(
        CONFIG,
        SPACE,
        tmp_path / "s",
        trials=4,
        pruner="none",
        resume=True,
        objective=objective,
        told=lambda ended, best: told.append(ended.number),
    )
    assert len(told) == 4 - 2
    states = Counter(one.state for one in found.trials)
    assert states == {"complete": 4}
    # The first ones were drawn, so they are those of a search that was never stopped.
    rates = [[t.params["optimizer.learning_rate"] for t in s.trials] for s in (whole, found)]
    assert rates[0] == rates[1]
    assert rates[0][:2] == tried
    values = {one.value for one in found.trials}
    assert found.best.value == min(values)
    best = load_config(tmp_path / "s" / "best.json")
    assert config_lib.to_json(best) == config_lib.to_json(found.config)
    assert abs(best.optimizer.learning_rate - 1e-3) == pytest.approx(found.best.value)
    listed = read_json(tmp_path / "s" / "trials.json")
    assert listed["best"] == found.best.number
    assert len(listed["trials"]) == 4
    assert (tmp_path / "s" / "report.html").read_text().count("optimizer.learning_rate") >= 2


def test_a_grid_is_tried_once_and_what_is_worse_on_the_way_is_pruned(tmp_path):
    space = {"optimizer.learning_rate": Choice(1e-3, *(0.1 * i for i in range(1, 7)))}
    asked = []

    def counted(config, folder, report):
        asked.append(config.optimizer.learning_rate)
        return objective(config, folder, report)

    found = tune(CONFIG, space, tmp_path / "s", trials=1, sampler="grid", objective=counted)
    assert asked == list(space["optimizer.learning_rate"].values)
    states = [one.state for one in found.trials]
    # After five trials, what is above the median of the others at a step is ended there.
    assert states == ["complete"] * 5 + ["pruned"] * 2
    assert found.trials[5].curve == pytest.approx({1: 1.499})
    assert found.best.params == {"optimizer.learning_rate": 1e-3}


def test_points_that_fail_are_left_out_unless_all_do(tmp_path):
    space = {"seed": IntRange(0, 3)}

    def diverges(config, folder, report):
        if config.seed < 3:
            raise NumericError(701, f"seed {config.seed}")
        return 1.0

    with pytest.raises(NumericError, match="seed 2"):
        tune(CONFIG, space, tmp_path / "s", sampler="grid", objective=diverges)
    found = tune(CONFIG, space, tmp_path / "s", sampler="grid", objective=diverges, resume=True)
    assert [one.state for one in found.trials] == ["failed"] * 3 + ["complete"]
    assert "seed 1" in found.trials[1].note
    # Of a space this small the points repeat; what is known is not tried again.
    asked = []

    def once(config, folder, report):
        asked.append(config.seed)
        return float(config.seed)

    found = tune(CONFIG, space, tmp_path / "r", trials=5, sampler="random", objective=once)
    assert len(found.trials) == 5
    assert len(asked) == len(set(asked))
    assert {one.note for one in found.trials if one.note} <= {f"as trial {n}" for n in range(5)}


@pytest.mark.slow
def test_importance_is_that_of_the_setting_that_matters(tmp_path):
    study = Study(tmp_path, {"seed": IntRange(0, 9), "train.keep_last": IntRange(1, 9)}, lower=True)
    while (trial := study.claim(40)) is not None:
        trial.complete(float((trial.params["seed"] - 3) ** 2))
    found = study.importance()
    assert list(found) == ["seed", "train.keep_last"]
    assert found["seed"] > 0.7


def test_a_process_of_another_host_is_dead_when_it_gives_no_sign(tmp_path, monkeypatch):
    study = Study(tmp_path, {"seed": IntRange(0, 99)}, lower=True)
    trial = study.claim(5)
    path = tmp_path / "workers" / f"{trial.number}.json"
    path.write_text(json.dumps(dataclasses.asdict(Holder("elsewhere", 1, "", "", "today"))))
    assert study.claim(5).params != trial.params
    os.utime(path, (0, 0))
    assert study.claim(5).params == trial.params
    monkeypatch.setattr(study_module, "_ATTEMPTS", 1)
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        Study(tmp_path, {}, lower=True, sampler="randm")


ONE_POINT = """
from mmjax.core.space import Choice

def get_space():
    return {"optimizer.learning_rate": Choice(2e-2)}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return made_runs.config(tmp_path_factory.mktemp("trials"))


def test_the_command_searches_and_writes_a_config_that_trains(
    config, tmp_path, monkeypatch, capsys
):
    tiny_run.numpy_start(monkeypatch)
    path = tiny_run.write_config(tmp_path / "config.py", config)
    path.write_text(path.read_text() + ONE_POINT)
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
    assert best.optimizer.learning_rate == 2e-2
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


def test_a_nested_search_is_measured_on_rows_that_it_was_not_told_of(config, tmp_path, monkeypatch):
    seen = {}

    def trained(self, config, folder, dataset, report, *, title):
        rows = {name: set(rows.tolist()) for name, rows in dataset.splits.items()}
        seen.setdefault(folder.parent.parent.name, []).append(rows)
        return config.optimizer.learning_rate

    def measured(config, path, frame, splits, title):
        held, told = set(splits["test"].tolist()), seen.pop(path.parent.name)
        assert len(told) == 4
        assert not held & set.union(*(rows for one in told for rows in one.values()))
        return {"accuracy": config.optimizer.learning_rate, "auroc": float("nan")}

    monkeypatch.setattr(Training, "_train", trained)
    monkeypatch.setattr(hyperparameters, "measure_fold", measured)
    space = {"optimizer.learning_rate": Choice(0.25, 0.5)}
    how = {"sampler": "grid", "folds": 2, "nested": 2}
    found = hyperparameters.tune(config, space, tmp_path, **how)
    assert found.estimate == {"accuracy": {"mean": 0.5, "spread": 0.0, "values": [0.5, 0.5]}}
    assert "nested estimate 0.5000" in (tmp_path / "report.html").read_text()
    # The search for the config that is kept never saw the data's own test rows.
    test = set(prepared(config).rows("test").tolist())
    (told,) = seen.values()
    assert len(told) == 4
    assert not test & set.union(*(rows for one in told for rows in one.values()))


@pytest.mark.slow
def test_processes_share_a_nested_search_and_measure_each_fold_once(config, tmp_path, monkeypatch):
    """Some seconds: the data is prepared several times."""
    log = tmp_path / "log"
    folder = tmp_path / "search"

    def note(*words: object) -> None:
        with log.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")
        time.sleep(0.02)

    def trained(self, config, folder, dataset, report, *, title):
        note("trial", folder.parent.name, config.optimizer.learning_rate)
        return config.optimizer.learning_rate

    def measured(config, path, frame, splits, title):
        note("measured", path.parent.name, config.optimizer.learning_rate)
        return {"accuracy": config.optimizer.learning_rate}

    monkeypatch.setattr(Training, "_train", trained)
    monkeypatch.setattr(hyperparameters, "measure_fold", measured)
    monkeypatch.setattr(hyperparameters, "write_page", lambda *_: None)
    space = {"optimizer.learning_rate": Choice(0.25, 0.5, 0.125)}
    how = {"sampler": "grid", "nested": 2, "resume": True}

    def work() -> None:
        hyperparameters.tune(config, space, folder, **how)
        os._exit(0)

    both = [in_a_process(work) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in both] == [0, 0]
    lines = Counter(log.read_text().splitlines())
    assert set(lines.values()) == {1}
    held = [one for one in lines if one.startswith("measured")]
    assert sorted(held) == ["measured outer_0 0.5", "measured outer_1 0.5"]
    assert len(lines) == 2 + 3 * 3
    estimate = read_json(folder / "nested.json")["metrics"]["accuracy"]
    assert estimate == {"mean": 0.5, "spread": 0.0, "values": [0.5, 0.5]}


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
    path.write_text(path.read_text() + ONE_POINT.replace("2e-2", "1e-4, 1e-3, 1e-2, 3e-2"))
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
