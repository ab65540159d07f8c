"""A student of one modality, taught by a run of two, and by its answers on unlabelled rows."""

import dataclasses
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api import distilling
from mmjax.api.run import Run
from mmjax.checkpoint.load import load_arrays
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, DataError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec

SHORT = ("train.duration=2 steps", "train.save_every=2 steps", "train.evaluate_every=2 steps")


@pytest.fixture
def caught(monkeypatch):
    """What `fit` is called with; training is left out if `caught["stop"]`."""
    seen, fit = {"stop": False}, distilling.fit

    class Stop(Exception):
        pass

    def spy(config, workdir, *, dataset, **options):
        seen.update(config=config, dataset=dataset)
        if seen["stop"]:
            raise Stop
        return fit(config, workdir, dataset=dataset, **options)

    monkeypatch.setattr(distilling, "fit", spy)
    seen["exception"] = Stop
    return seen


def test_a_student_of_one_modality(trained, tmp_path, caught, monkeypatch):
    tiny_run.numpy_start(monkeypatch)
    arguments = ["distill", str(trained), "--modality", "image", "--weight", "0.7"]
    assert main([*arguments, "--workdir", str(tmp_path / "student"), *SHORT]) == 0
    task = caught["config"].task
    assert (task.name, task.options["teacher_weight"]) == ("distilled_classification", 0.7)
    teacher, dataset = Run(trained), caught["dataset"]
    found = teacher.evaluation(split="train")
    batches = list(caught["dataset"].loader("train", train=False))
    rows = np.concatenate([one.row[one.row_mask] for one in batches])
    told = np.concatenate([one.targets["teacher"][one.row_mask] for one in batches])
    by_row = dict(zip(found.rows.tolist(), found.predictions["probabilities"], strict=True))
    np.testing.assert_allclose(told[:, :-1], [by_row[row] for row in rows.tolist()], atol=1e-6)
    assert (told[:, -1] == 1).all()
    held = next(iter(dataset.loader("validation", train=False))).targets["teacher"]
    assert not held.any()
    student = mmjax.load_run(tmp_path / "student")
    assert student.config.task.name == "classification"
    assert list(student.config.model.encoders) == ["image"]
    assert student.evaluate().keys() >= {"accuracy", "loss"}
    assert read_json(tmp_path / "student" / "metrics.json").keys() == {"validation", "test"}
    about = read_json(tmp_path / "student" / "distillation.json")
    assert (about["teacher"], about["rows"]) == (str(trained), len(rows))
    assert not (tmp_path / "student" / "processors" / "targets" / "teacher").exists()


def test_unlabelled_rows_that_the_teacher_is_sure_of_train_too(trained, caught):
    other = tiny_run.write_data(trained.parent, 13, name="unlabelled", seed=7)
    rows = tiny_run.read_rows(other)
    columns = tuple(name for name in tiny_run.COLUMNS if name != "kind")
    tiny_run.write_rows(other, rows, columns)
    teacher = Run(trained)
    answers = teacher.predict(other)
    best = [max(one["probabilities"].values()) for one in answers]
    sure = sorted(best)[6]
    config = config_lib.override(teacher.config, SHORT)
    caught["stop"] = True
    with pytest.raises(caught["exception"]):
        mmjax.distill(teacher, "nowhere", config, unlabelled=other, confidence=sure - 1e-6)
    dataset, plain = caught["dataset"], teacher.dataset(labels=True)
    assert len(dataset.rows("train")) == len(plain.rows("train")) + 7
    new = dataset.rows("train")[-7:]
    taken = [one for one, p in zip(answers, best, strict=True) if p >= sure - 1e-6]
    assert dataset.ids(new) == [one["id"] for one in taken]
    assert [dataset.table.column("kind")[row] for row in new] == [one["label"] for one in taken]
    assert dataset.table.where(int(new[0])).startswith(str(other))
    np.testing.assert_array_equal(dataset.rows("test"), plain.rows("test"))
    batch = list(dataset.loader("train", train=False))[-1]
    last = batch.targets["teacher"][batch.row_mask][-1][:-1]
    np.testing.assert_allclose(last.max(), best[answers.index(taken[-1])], atol=1e-6)


def test_what_is_no_student_is_refused(trained, tmp_path):
    teacher = Run(trained)
    with pytest.raises(ConfigError, match="a config or a modality"):
        mmjax.distill(teacher, tmp_path / "out")
    with pytest.raises(ConfigError, match="no 'sound'"):
        mmjax.distill(teacher, tmp_path / "out", modality="sound")
    elsewhere = tiny_run.write_data(tmp_path, 5)
    with pytest.raises(DataError, match="another folder"):
        mmjax.distill(teacher, tmp_path / "out", modality="image", unlabelled=elsewhere)
    assert not (tmp_path / "out").exists()


def test_a_student_that_was_stopped_goes_on_with_what_the_teacher_said(
    trained, tmp_path, caught, monkeypatch
):
    """Training is a stub that stops once the teacher's answers are kept."""
    config = config_lib.override(Run(trained).config, SHORT)
    out = tmp_path / "student"
    told = []

    def stopped(config, workdir, *, dataset, hooks, resume, **_):
        told.append([one.targets["teacher"] for one in dataset.loader("train", train=False)])
        folder = RunFolder(workdir)
        if not resume:
            folder.create().write_config(config_lib.to_json(config))
        hooks[0](None)
        raise KeyboardInterrupt

    monkeypatch.setattr(distilling, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        mmjax.distill(trained, out, config)
    with pytest.raises(CheckpointError, match="--resume"):
        mmjax.distill(trained, out, config)
    with pytest.raises(ConfigError, match=r"weight: 0\.5 -> 0\.25"):
        mmjax.distill(trained, out, config, weight=0.25, resume=True)
    # The teacher is asked no more.
    monkeypatch.setattr(distilling, "said", None)
    with pytest.raises(KeyboardInterrupt):
        mmjax.distill(trained, out, config, resume=True)
    np.testing.assert_array_equal(*(np.concatenate(one) for one in told))
    with pytest.raises(CheckpointError, match="nobody taught"):
        mmjax.distill(trained, trained, config, resume=True)


@pytest.mark.slow
def test_a_killed_student_ends_as_one_that_was_not(trained, tmp_path):
    """Some tens of seconds: three processes."""
    command = [sys.executable, "-m", "mmjax", "distill", str(trained), "--modality", "image"]
    command += ["train.duration=60 steps", "train.save_every=5 steps", "train.keep_best=0"]

    def begin(out, *more):
        return subprocess.Popen(
            [*command, "--workdir", str(out), *more], env=tiny_run.environment()
        )

    assert begin(tmp_path / "whole").wait(300) == 0
    first = begin(tmp_path / "killed")
    deadline = time.monotonic() + 300
    while not (tmp_path / "killed/checkpoints/10").is_dir() and time.monotonic() < deadline:
        time.sleep(0.005)
    first.kill()
    first.wait()
    assert begin(tmp_path / "killed", "--resume").wait(300) == 0
    ends = [
        load_arrays(tmp_path / name, "latest", prefixes=("params",)) for name in ("whole", "killed")
    ]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    assert mmjax.load_run(tmp_path / "killed").config.task.name == "classification"
    assert not (tmp_path / "killed" / "lessons.npz").exists()
    # Finished: the same command trains nothing, and is no error.
    before = (tmp_path / "killed" / "metrics.jsonl").read_bytes()
    assert begin(tmp_path / "killed", "--resume").wait(300) == 0
    assert (tmp_path / "killed" / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_students_of_labels_and_of_numbers(tmp_path, monkeypatch):
    """Some tens of seconds: two teachers, and a student of each with unlabelled rows."""
    tiny_run.numpy_start(monkeypatch)
    data = tiny_run.write_data(tmp_path)
    other = tiny_run.write_data(tmp_path, 13, name="unlabelled", seed=7)
    rows = tiny_run.read_rows(other)
    columns = tuple(name for name in tiny_run.COLUMNS if name not in ("kind", "weight"))
    tiny_run.write_rows(other, rows, columns)
    forms = {
        "multi_label": ("labels", {"column": "kind", "separator": ","}, "micro_f1"),
        "regression": ("number", {"column": "weight"}, "mae"),
    }
    for task, (target, options, metric) in forms.items():
        config = tiny_run.config(data, f"train.best_metric={metric}", "train.duration=4 steps")
        targets = {"label": Spec(target, **options)}
        config = dataclasses.replace(
            config,
            task=Spec(task),
            data=dataclasses.replace(config.data, targets=targets),
        )
        teacher = mmjax.train(config, tmp_path / f"{task}_teacher")
        student = mmjax.distill(
            teacher, tmp_path / task, modality="text", unlabelled=other, confidence=0.0
        )
        assert student.config.task.name == task
        assert list(student.config.model.encoders) == ["text"]
        assert np.isfinite(student.evaluate()[metric])
        about = read_json(tmp_path / task / "distillation.json")
        assert about["unlabelled_rows"] == 13
