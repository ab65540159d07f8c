"""A search on disk: shared by processes, left by dead ones, gone on with; trainings are stubs."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter

import pytest

from mmjax.api import study as study_module
from mmjax.api.hyperparameters import tune
from mmjax.api.study import Study
from mmjax.api.trials import Pruned
from mmjax.checkpoint.lock import Holder
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

    first = in_a_process(lambda: work(2, 7))
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 9
    others = [in_a_process(lambda: work(None, 7)) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in others] == [0, 0]
    tried = [json.loads(line) for line in log.read_text().splitlines()]
    # Two finished, one was left, and that one is tried again in its folder, with its point.
    counts = Counter(folder for folder, _ in tried)
    assert counts.pop("trial_0002") == 2
    assert set(counts.values()) == {1}
    assert len(counts) == 6
    assert tried[3] == tried[2]
    records = Study(tmp_path / "s", SPACE, lower=True).records()
    assert [one.state for one in records if not one.again] == ["complete"] * 7
    assert [(one.number, one.note) for one in records if one.again] == [(2, "its process is gone")]
    assert len({json.dumps(one.params) for one in records if not one.again}) == 7


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
        if len(tried) == 4:
            raise KeyboardInterrupt
        tried.append(config.optimizer.learning_rate)
        return objective(config, folder, report)

    whole = tune(CONFIG, SPACE, tmp_path / "whole", trials=7, pruner="none", objective=objective)
    with pytest.raises(KeyboardInterrupt):
        tune(CONFIG, SPACE, tmp_path / "s", trials=7, pruner="none", objective=counted)
    with pytest.raises(CheckpointError, match="--resume"):
        tune(CONFIG, SPACE, tmp_path / "s", trials=7, pruner="none", objective=objective)
    with pytest.raises(ConfigError, match="pruner: none -> median"):
        tune(CONFIG, SPACE, tmp_path / "s", trials=7, resume=True, objective=objective)
    told = []
    found = tune(
        CONFIG,
        SPACE,
        tmp_path / "s",
        trials=7,
        pruner="none",
        resume=True,
        objective=objective,
        told=lambda ended, best: told.append(ended.number),
    )
    assert len(told) == 7 - 4
    states = Counter(one.state for one in found.trials)
    assert states == {"complete": 7}
    # The first ones were drawn, so they are those of a search that was never stopped.
    rates = [[t.params["optimizer.learning_rate"] for t in s.trials] for s in (whole, found)]
    assert rates[0] == rates[1]
    assert rates[0][:4] == tried
    values = {one.value for one in found.trials}
    assert found.best.value == min(values)
    best = load_config(tmp_path / "s" / "best.json")
    assert config_lib.to_json(best) == config_lib.to_json(found.config)
    assert abs(best.optimizer.learning_rate - 1e-3) == pytest.approx(found.best.value)
    listed = read_json(tmp_path / "s" / "trials.json")
    assert listed["best"] == found.best.number
    assert len(listed["trials"]) == 7
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

    found = tune(CONFIG, space, tmp_path / "r", trials=7, sampler="random", objective=once)
    assert len(found.trials) == 7
    assert len(asked) == len(set(asked))
    assert {one.note for one in found.trials if one.note} <= {f"as trial {n}" for n in range(7)}


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
