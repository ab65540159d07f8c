"""What a teacher says of rows, in the form that a student's task compares itself with."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax import tasks
from mmjax.api.run import Run
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.files import atomic
from mmjax.core.registry import Spec
from mmjax.core.typing import Float
from mmjax.data.dataset import Dataset

TAUGHT = {
    "classification": "distilled_classification",
    "multi_label": "distilled_multi_label",
    "regression": "distilled_regression",
}
"""Tasks that a student may have, each with that which it is trained with."""

_NEAREST = {"classes": "classification", "labels": "multi_label", "values": "regression"}


@dataclasses.dataclass(frozen=True)
class Said:
    """Of one row."""

    numbers: Float[np.ndarray, "o"]
    """As the student's head has them: probabilities by its label names, or numbers in its units."""
    cell: Any
    """As the column of a target holds it: a label, a list of labels, a number or a list of them."""
    sure: float
    """The least probability of any part of the answer; 1 for numbers, which have none."""


def require_teachable(task: Spec, whose: str, as_teacher: str = "") -> None:
    """Raises ConfigError for a task that nothing can be learnt of, or another than the teacher's.

    The choice that is named is the one whose outputs are of the same kind, if there is one.
    """
    if task.name in TAUGHT and as_teacher in ("", task.name):
        return
    what, fix = f"the task '{task.name}'", f"task={as_teacher}"
    if task.name in TAUGHT:
        what += f", the teacher of '{as_teacher}'"
    else:
        near = _NEAREST.get(str(getattr(tasks.registry.load(task.name), "outputs_are", None)))
        fix = f"task={near}" if near else nearest(task.name, TAUGHT)
        fix += ", which a student can be taught" if near else ""
    raise ConfigError(109, f"the {whose} is of {what}", where="task", fix=fix)


def taught_task(task: Spec, *, weight: float, temperature: float) -> Spec:
    """The task of a student while it is taught. Raises ConfigError for values out of range."""
    if not 0 <= weight <= 1 or temperature <= 0:
        raise ConfigError(
            106,
            f"weight = {weight}, temperature = {temperature}",
            where="distill",
            fix="a weight of 0 to 1, a temperature of more than 0",
        )
    soft = {} if task.name == "regression" else {"temperature": temperature}
    return Spec(TAUGHT[task.name], **task.options, teacher_weight=weight, **soft)


def said(teacher: Run, dataset: Dataset, split: str, student: Any) -> dict[int, Said]:
    """What `teacher` says of the rows of a split, by row, to the task `student`.

    Raises ConfigError for labels, numbers or quantiles of the student's that it does not tell.
    """
    found = teacher.evaluate_dataset(dataset, split)
    task: Any = teacher.module.task
    of = {"classes": _of_classes, "labels": _of_labels, "values": _of_numbers}
    made = of[student.outputs_are](teacher, task, student, found.predictions)
    return dict(zip(found.rows.tolist(), made, strict=True))


def _order(teacher: Run, own: Sequence[str], wanted: Sequence[str], what: str) -> list[int]:
    """Where the names that the student has stand among the teacher's."""
    missing = [name for name in wanted if name not in own]
    if missing:
        raise ConfigError(
            109,
            f"the teacher does not know the {what} '{missing[0]}'",
            where=str(teacher.folder.path),
            fix=nearest(missing[0], own),
        )
    return [list(own).index(name) for name in wanted]


def _of_classes(
    teacher: Run, task: Any, student: Any, predictions: Mapping[str, Any]
) -> list[Said]:
    order = _order(teacher, task.label_names, student.label_names, "label")
    chances = np.asarray(predictions["probabilities"], np.float32)[:, order]
    chances = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-9)
    best = [student.label_names[i] for i in chances.argmax(axis=1)]
    return [Said(one, name, float(one.max())) for one, name in zip(chances, best, strict=True)]


def _of_labels(teacher: Run, task: Any, student: Any, predictions: Mapping[str, Any]) -> list[Said]:
    order = _order(teacher, task.label_names, student.label_names, "label")
    chances = np.asarray(predictions["probabilities"], np.float32)[:, order]
    given = chances >= task.cuts()[order]
    names = np.asarray(student.label_names)
    sure = np.maximum(chances, 1 - chances).min(axis=1)
    rows = zip(chances, given, sure, strict=True)
    return [Said(one, names[yes].tolist(), float(least)) for one, yes, least in rows]


def _of_numbers(
    teacher: Run, task: Any, student: Any, predictions: Mapping[str, Any]
) -> list[Said]:
    order = _order(teacher, task.answers().names, student.answers().names, "number")
    values = task.in_units(predictions["values"])[:, order]
    numbers = values[..., None]
    if student.loss == "quantile":
        if task.loss != "quantile" or tuple(task.quantiles) != tuple(student.quantiles):
            levels = ", ".join(map(str, student.quantiles))
            raise ConfigError(
                109,
                f"the teacher tells no quantiles {levels}",
                where=str(teacher.folder.path),
                fix="task.loss=huber, or quantiles that the teacher has",
            )
        numbers = task.in_units(predictions["quantiles"])[:, order]
    own = student.answers()
    scaled = (numbers - np.asarray(own.means)[:, None]) / np.asarray(own.deviations)[:, None]
    flat = scaled.reshape(len(scaled), -1).astype(np.float32)
    cells = [row if len(row) > 1 else row[0] for row in values.tolist()]
    return [Said(one, cell, 1.0) for one, cell in zip(flat, cells, strict=True)]


@dataclasses.dataclass(frozen=True)
class Lessons:
    """All that a student is told: of its training rows, and of rows that come on top."""

    known: Mapping[int, Said]
    """By row of the student's own table."""
    more: Mapping[int, Said]
    """By row of the unlabelled table."""

    def save(self, path: Path) -> None:
        """Arrays and JSON in one `.npz`, whole or absent."""
        parts: dict[str, Any] = {}
        for name, some in (("known", self.known), ("more", self.more)):
            parts[f"{name}_rows"] = np.asarray(list(some), np.int64)
            numbers = [one.numbers for one in some.values()]
            parts[f"{name}_numbers"] = np.asarray(numbers, np.float32)
        cells = [one.cell for one in self.more.values()]
        parts["cells"] = np.frombuffer(json.dumps(cells).encode(), np.uint8)
        with atomic(path, "wb") as file:
            np.savez(file, **parts)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Lessons:
        """What `save` wrote, but for how sure the teacher was."""
        with np.load(path) as stored:
            cells = json.loads(stored["cells"].tobytes())
            known = dict(zip(stored["known_rows"].tolist(), stored["known_numbers"], strict=True))
            more = zip(stored["more_rows"].tolist(), stored["more_numbers"], cells, strict=True)
            return cls(
                {row: Said(one, None, 1.0) for row, one in known.items()},
                {row: Said(one, cell, 1.0) for row, one, cell in more},
            )
