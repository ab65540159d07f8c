"""A student of one modality, taught by a run of two, and by its answers on unlabelled rows."""

import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api import distilling
from mmjax.api.run import Run
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json

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
    np.testing.assert_allclose(told, [by_row[row] for row in rows.tolist()], atol=1e-6)
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
    last = batch.targets["teacher"][batch.row_mask][-1]
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
