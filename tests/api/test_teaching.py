"""What a teacher says, as a student's task has it: teachers are stubs with known predictions."""

import types

import numpy as np
import pytest

from mmjax import tasks
from mmjax.api.teaching import Lessons, Said, require_teachable, said, taught_task
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.train.evaluate import Evaluation


def teacher(task, predictions):
    rows = np.array([4, 2])
    found = Evaluation({}, predictions, {}, rows, {})
    return types.SimpleNamespace(
        module=types.SimpleNamespace(task=task),
        folder=types.SimpleNamespace(path="runs/teacher"),
        evaluate_dataset=lambda dataset, split: found,
    )


def made(name, facts, **options):
    return tasks.registry.build(name, facts=facts, **options)


def test_labels_are_in_the_order_of_the_student_and_cut_at_the_teachers_thresholds():
    names = {"num_labels": 3, "label_names": ("a", "b", "c"), "thresholds": (0.3, 0.5, 0.5)}
    own = {"num_labels": 2, "label_names": ("c", "a")}
    told = {"probabilities": np.array([[0.4, 0.5, 0.9], [0.2, 0.5, 0.45]])}
    found = said(teacher(made("multi_label", names), told), None, "train", made("multi_label", own))
    assert list(found) == [4, 2]
    np.testing.assert_allclose(found[4].numbers, [0.9, 0.4])
    assert found[4].cell == ["c", "a"]
    assert found[2].cell == []
    assert found[2].sure == pytest.approx(0.55)
    stranger = made("multi_label", {"num_labels": 1, "label_names": ("d",)})
    with pytest.raises(ConfigError, match="does not know the label 'd'"):
        said(teacher(made("multi_label", names), told), None, "train", stranger)


def test_numbers_are_in_the_units_of_the_students_batches():
    theirs = {
        "num_targets": 2,
        "target_names": ("width", "depth"),
        "target_means": (10.0, 100.0),
        "target_deviations": (2.0, 20.0),
    }
    ours = {
        "num_targets": 2,
        "target_names": ("depth", "width"),
        "target_means": (50.0, 0.0),
        "target_deviations": (10.0, 4.0),
    }
    told = {"values": np.array([[1.0, 2.0], [0.0, -1.0]])}  # 12 and 140, 10 and 80
    plain = teacher(made("regression", theirs), told)
    found = said(plain, None, "train", made("regression", ours))
    np.testing.assert_allclose(found[4].numbers, [9.0, 3.0])
    np.testing.assert_allclose(found[2].cell, [80.0, 10.0])
    quantiles = made("regression", ours, loss="quantile")
    with pytest.raises(ConfigError, match=r"no quantiles 0.1, 0.5, 0.9.*loss=huber"):
        said(plain, None, "train", quantiles)
    each = np.arange(12.0).reshape(2, 2, 3)
    several = teacher(made("regression", theirs, loss="quantile"), {**told, "quantiles": each})
    found = said(several, None, "train", quantiles)
    depth, width = (100 + 20 * each[0, 1] - 50) / 10, (10 + 2 * each[0, 0]) / 4
    np.testing.assert_allclose(found[4].numbers, [*depth, *width])


def test_lessons_come_back_from_disk(tmp_path):
    one = {3: Said(np.float32([0.25, 0.75]), "b", 0.75)}
    more = {0: Said(np.float32([1.0, 0.0]), ["é", "b"], 1.0), 9: Said(np.float32([0, 1]), [], 1.0)}
    Lessons(one, more).save(tmp_path / "lessons.npz")
    found = Lessons.load(tmp_path / "lessons.npz")
    assert (list(found.known), list(found.more)) == ([3], [0, 9])
    np.testing.assert_array_equal(found.known[3].numbers, [0.25, 0.75])
    assert [said.cell for said in found.more.values()] == [["é", "b"], []]
    Lessons(one, {}).save(tmp_path / "lessons.npz")
    assert not Lessons.load(tmp_path / "lessons.npz").more


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ordinal", "classification"),
        ("sentiment", "regression"),
        ("token_classification", "classification"),
        ("captioning", "classification, multi_label, regression"),
    ],
)
def test_other_tasks_are_refused_with_the_one_that_is_nearest(name, near):
    with pytest.raises(ConfigError, match=f"the teacher is of the task '{name}'.*{near}"):
        require_teachable(Spec(name), "teacher")


def test_student_and_teacher_are_of_one_task():
    require_teachable(Spec("regression"), "student", "regression")
    with pytest.raises(ConfigError, match=r"student is of .*'regression', the teacher of 'multi"):
        require_teachable(Spec("regression"), "student", "multi_label")
    with pytest.raises(ConfigError, match="weight = 2"):
        taught_task(Spec("regression"), weight=2, temperature=1)
    assert taught_task(Spec("regression"), weight=0.5, temperature=1) == Spec(
        "distilled_regression", teacher_weight=0.5
    )
