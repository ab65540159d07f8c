"""A run that is killed at every failpoint and stopped by every signal, against one that is not."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import jax
import lives
import numpy as np
import pytest
import tiny_run

from mmjax.checkpoint.load import load_arrays
from mmjax.core.failpoints import NAMES
from mmjax.train.job import Pace
from mmjax.train.signals import StopSignals
from mmjax.writers import read_records

# What tells how fast a run went; everything else in metrics.jsonl is a function of the run.
SPEED = ("examples_per_second", "input_wait")

KILLED = ("start-up:1", "compile:1", "save-started:2", "before-commit:2", "after-commit:1")
KILLED += ("step:5", "evaluation:1")
OF_PREDICTION = {"part", "after-part", "after-merge"}
"""Failpoints that training does not pass."""

# In one run, so that each also meets what the one before left behind.
TWICE = ("start-up:1", "start-up:1", "compile:1", "compile:1", "step:1", "save-started:1")
TWICE += ("before-commit:1", "evaluation:1", "save-started:2", "before-commit:2", "after-commit:1")
TWICE += ("after-commit:2", "step:5", "evaluation:2")
PROGRESS = ("save-started:2", "before-commit:2", "after-commit:1", "after-commit:2", "step:5")
PROGRESS += ("evaluation:2",)

STOPPED = ("SIGTERM",)
OTHERS = ("SIGINT", "SIGUSR1")
"""Signals that are taken as SIGTERM is, and stop a run where much time is given."""


def life(folder, name, failpoint="", **signals):
    config = folder.parent / "config.py"
    arguments = ["train", str(config), "--workdir", str(folder), "--resume"]
    plan = {"name": name, "folder": str(folder), "arguments": arguments, "failpoint": failpoint}
    return {**plan, "signals": signals} if signals else plan


def run_lives(folder, plan):
    """The results of the lives by name."""
    paths = folder / "plan.json", folder / "result.json"
    paths[0].write_text(json.dumps(plan))
    subprocess.run(
        [sys.executable, lives.__file__, *map(str, paths)],
        env=tiny_run.environment(),
        check=True,
        timeout=1200,
    )
    return {one["name"]: one for one in json.loads(paths[1].read_text())}


@pytest.fixture(scope="module")
def disturbed(trained):
    """The folder of a run like `trained`, in ten lives, and what became of each."""
    folder = trained.parent / "disturbed"
    plan = [life(folder, name, failpoint=name) for name in KILLED]
    plan += [life(folder, name, at=1, names=[name]) for name in STOPPED]
    plan += [life(folder, "twice", at=1, names=["SIGTERM", "SIGINT"]), life(folder, "last")]
    return folder, run_lives(trained.parent, plan)


def same_arrays(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype, path
        assert np.array_equal(a, b), path


def lines(folder):
    records = read_records(folder / "metrics.jsonl")
    return [{k: v for k, v in one.items() if k not in SPEED} for one in records]


def rows_by_step(path):
    """The rows of each step's batch, the same in all lives that took the step."""
    found = {}
    for line in Path(path).read_text().splitlines():
        record = json.loads(line)
        assert found.setdefault(record["step"], record["rows"]) == record["rows"]
    return found


def expected_rows(run, steps):
    """The rows of each step, from the loader alone."""
    from mmjax.api.run import Run

    with Run(run).dataset().loader("train", train=True) as loader:
        return {step: next(loader).row.tolist() for step in range(1, steps + 1)}


def test_every_failpoint_kills(disturbed):
    _, found = disturbed
    assert {name.partition(":")[0] for name in KILLED} == {*NAMES} - OF_PREDICTION
    for name in KILLED:
        assert found[name]["code"] == -signal.SIGKILL, found[name]["err"]
    assert found["last"]["code"] == 0, found["last"]["err"]


def test_state_and_metrics_are_those_of_an_undisturbed_run(trained, disturbed):
    folder, _ = disturbed
    ours, theirs = (load_arrays(run, "latest") for run in (folder, trained))
    assert ours["step"] == 20
    assert ours["skipped"] == 0
    assert set(ours) >= {"params", "opt_state", "ema", "key", "skipped", "skipped_in_a_row"}
    assert not np.array_equal(
        ours["ema"]["task"]["head"]["kernel"], ours["params"]["task"]["head"]["kernel"]
    )
    same_arrays(ours, theirs)
    assert lines(folder) == lines(trained)
    assert [line["step"] for line in lines(folder) if "train/loss" in line] == [
        *range(3, 20, 3),
        20,
    ]
    for name in ("config.json", "facts.json", "metrics.json", "status.json", "data_summary.json"):
        assert (folder / name).read_text() == (trained / name).read_text(), name


def test_every_step_sees_the_rows_that_it_should(trained, disturbed):
    folder, _ = disturbed
    seen = rows_by_step(f"{folder}.rows")
    assert seen == expected_rows(trained, 20)
    epoch = sorted(row for step in range(1, 5) for row in seen[step])
    assert epoch == sorted(set(epoch))


def test_a_life_that_outlasts_a_save_makes_progress(disturbed):
    _, found = disturbed
    newest = {name: max(one["after"], default=0) for name, one in found.items()}
    for before, after in zip(found.values(), list(found.values())[1:], strict=False):
        assert max(before["after"], default=0) == max(after["before"], default=0)
    # Killed before the second save of the life was on disk: the first one is.
    assert newest["start-up:1"] == newest["compile:1"] == 0
    assert newest["save-started:2"] == 2
    assert newest["before-commit:2"] == 4
    assert newest["after-commit:1"] == 6
    assert newest["step:5"] in (8, 10)
    for name in STOPPED:
        assert newest[name] == max(found[name]["before"]) + 1
    assert newest["twice"] == max(found["twice"]["before"])
    assert newest["last"] == 20


@pytest.mark.parametrize("name", [*STOPPED, *OTHERS])
def test_a_stop_is_asked_for_once_and_handlers_come_back(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.asked is None
        signal.raise_signal(number)
        assert signals.agreed(border=False, pace=Pace()) == name
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("name", STOPPED)
def test_a_signal_saves_and_says_so(disturbed, name):
    one = disturbed[1][name]
    step = max(one["after"])
    assert one["code"] == 42
    assert "Traceback" not in one["err"]
    assert [line for line in one["err"].splitlines() if "error" in line] == [
        f"mmjax error MMX-702: {name}: saved after step {step} of 20 | fix: go on with --resume"
    ]


def test_a_second_signal_does_not_wait(disturbed):
    one = disturbed[1]["twice"]
    assert one["code"] == 143
    assert one["after"] == one["before"]
    assert "Traceback" not in one["err"]


@pytest.mark.slow
def test_killed_twice_at_every_failpoint(trained):
    folder = trained.parent / "killed_twice"
    plan = [life(folder, f"{i} {name}", failpoint=name) for i, name in enumerate(TWICE)]
    plan += [life(folder, f"{name} {name}", at=1, names=[name]) for name in OTHERS]
    found = run_lives(trained.parent, [*plan, life(folder, "last")])
    assert found.pop("last")["code"] == 0
    for name in OTHERS:
        one = found.pop(f"{name} {name}")
        assert one["code"] == 42
        assert f"{name}: saved after step {max(one['after'])} of 20" in one["err"]
    for name, one in found.items():
        assert one["code"] == -signal.SIGKILL, (name, one["err"])
        if name.split()[1] in PROGRESS:
            assert max(one["after"]) > max(one["before"], default=0), name
    same_arrays(load_arrays(folder, "latest"), load_arrays(trained, "latest"))
    assert lines(folder) == lines(trained)
    assert rows_by_step(f"{folder}.rows") == expected_rows(trained, 20)
