"""A small model taught by a large one: from a run of several modalities to one of fewer."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.reporting import title_of
from mmjax.api.run import Run
from mmjax.api.teaching import Lessons, Said, require_teachable, said, taught_task
from mmjax.api.training import complete, single_modality
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.data.config import targets as target_registry
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.pipeline import prepare
from mmjax.data.targets.base import columns_of
from mmjax.data.targets.vector import VectorProcessor
from mmjax.train.adapting import build as build_model
from mmjax.train.config import Config
from mmjax.train.hooks import Moment
from mmjax.train.other_run import processor_folders
from mmjax.train.trainer import finished, fit
from mmjax.train.warm_start import with_encoders

TEACHER = "teacher"
_ABOUT, _LESSONS = "distillation.json", "lessons.npz"


def distill(
    teacher: str | os.PathLike | Run,
    workdir: str | os.PathLike,
    config: Config | None = None,
    *,
    modality: str | None = None,
    weight: float = 0.5,
    temperature: float = 2.0,
    unlabelled: Any = None,
    confidence: float = 0.9,
    root: str | None = None,
    frame: Any = None,
    resume: bool = False,
) -> Run:
    """A student that learns the labels of its training rows, and what `teacher` says of them.

    The student is that of `config`, of the teacher's task (classification, multi-label or
    regression) over its labels or numbers; without one, the teacher's own model with `modality`
    alone. Its loss is that of `mmjax.tasks.distilled`: a share `weight` comes from the teacher,
    whose probabilities are softened by `temperature`. What the teacher reads, such as other
    modalities, must be in the same data.

    With `unlabelled`, a manifest of further rows without labels (`root` as in `mmjax.fit`), those
    of which the teacher is at least so sure (`confidence`; of numbers, which have no probability,
    all) train as well, with its answer as their label: self-training, also of a model by itself.

    The run in `workdir` is of a plain task: nothing of the teacher is needed to use it.
    `distillation.json` says how it was taught. With `resume`, a run that was stopped goes on with
    what the teacher said when it began. `frame` is the DataFrame of a `frame` source. Raises
    ConfigError for tasks and labels that do not fit, DataError for rows that the teacher cannot
    read, CheckpointError for a folder in use without `resume`.
    """
    told = teacher if isinstance(teacher, Run) else Run(teacher)
    asked = _student(told, config, modality)
    if not 0 <= confidence <= 1:
        raise ConfigError(106, f"confidence = {confidence}", fix="expected 0 to 1")
    task = taught_task(asked.task, weight=weight, temperature=temperature)
    about = {
        "teacher": str(told.folder.path),
        "weight": weight,
        "temperature": temperature,
        "unlabelled": str(unlabelled) if isinstance(unlabelled, (str, os.PathLike)) else None,
        "confidence": confidence if unlabelled is not None else None,
    }
    folder = RunFolder(Path(workdir))
    begun = _begun(folder, about, resume=resume)
    student = with_encoders(config_lib.check(asked), folder.read_config() if begun else None)
    if begun and finished(folder) and folder.read_config()["task"]["name"] == student.task.name:
        return _completed(folder, frame)
    taught = dataclasses.replace(
        student,
        task=task,
        train=dataclasses.replace(student.train, single_modality_baselines=False),
    )
    plain = prepare(student.data, frame=frame, taken=processor_folders(student))
    judge: Any = build_model(student, plain.facts).task
    other = None if unlabelled is None else told.dataset(unlabelled, root=root)
    if begun and (folder.path / _LESSONS).is_file():
        lessons = Lessons.load(folder.path / _LESSONS)
    else:
        sure = {} if other is None else said(told, other, ALL, judge)
        lessons = Lessons(
            _on_training_rows(told, plain, judge, frame),
            {row: one for row, one in sure.items() if one.sure >= confidence},
        )
    about |= {"rows": len(plain.rows("train")), "unlabelled_rows": len(lessons.more)}
    dataset = _with_lessons(student, plain, other, lessons)

    def keep(moment: Moment) -> None:
        # Before the first checkpoint, and so before there is anything to go on with.
        if not (folder.path / _LESSONS).is_file():
            lessons.save(folder.path / _LESSONS)
            write_json(folder.path / _ABOUT, about)

    if not (begun and finished(folder)):
        title = f"{title_of(student)}, taught"
        fit(taught, folder.path, dataset=dataset, title=title, hooks=[keep], resume=resume)
    # What the teacher was for is over: the run is what its student is.
    plain.save(folder.processors)
    shutil.rmtree(folder.processors / "targets" / TEACHER, ignore_errors=True)
    folder.write_facts(plain.facts)
    folder.write_config(config_lib.to_json(dataclasses.replace(taught, task=student.task)))
    (folder.path / _LESSONS).unlink(missing_ok=True)
    return _completed(folder, frame)


def _completed(folder: RunFolder, frame: Any) -> Run:
    run = Run(folder.path)
    complete(run, frame)
    return run


def _begun(folder: RunFolder, about: Mapping[str, Any], *, resume: bool) -> bool:
    """Whether a run is to go on. Raises for one that must not, or was taught in another way."""
    if not folder.exists():
        return False
    if not resume:
        folder.create()  # raises before the teacher is asked
    if not (folder.path / _ABOUT).is_file():
        if folder.read_config()["task"]["name"].startswith("distilled_"):
            return True
        raise CheckpointError(
            601, f"'{folder.path}' holds a run that nobody taught", fix="name another --workdir"
        )
    known = read_json(folder.path / _ABOUT)
    lines = config_lib.differences({name: known.get(name) for name in about}, about)
    if lines:
        raise ConfigError(
            110,
            f"the student was taught with other settings: {'; '.join(lines)}",
            where=str(folder.path),
            fix="resume with its own settings, or start a new --workdir",
        )
    return True


def _student(teacher: Run, config: Config | None, modality: str | None) -> Config:
    known = list(teacher.config.model.encoders)
    if (config is None) == (modality is None):
        raise ConfigError(
            109,
            "a student is a config or a modality of the teacher, not both and not neither",
            where="distill",
            fix=f"name one modality: {', '.join(known)}",
        )
    if modality is not None and modality not in known:
        raise ConfigError(109, f"the teacher has no '{modality}'", fix=nearest(modality, known))
    found = single_modality(teacher.config, modality) if config is None else config  # type: ignore[arg-type]
    for one, whose in ((teacher.config, "teacher"), (found, "student")):
        if one.objectives:
            raise ConfigError(
                109,
                f"the {whose} is of pretraining objectives",
                where="objectives",
                fix="a run of a task: classification, multi_label or regression",
            )
    require_teachable(teacher.config.task, "teacher")
    require_teachable(found.task, "student", teacher.config.task.name)
    return found


def _on_training_rows(teacher: Run, plain: Dataset, student: Any, frame: Any) -> dict[int, Said]:
    """What the teacher says of each training row, by its place in the table."""
    data = dataclasses.replace(
        plain.config,
        modalities=teacher.config.data.modalities,
        targets={},
        few_shot=None,
        sampling=None,
    )
    read = prepare(
        teacher._sized(data, None),
        frame=frame,
        processors_folder=teacher.folder.processors,
        targets="optional",
        splits={"train": plain.rows("train")},
    )
    return said(teacher, read, "train", student)


def _with_lessons(
    student: Config, plain: Dataset, other: Dataset | None, lessons: Lessons
) -> Dataset:
    """The data with what the teacher says as a target, and the rows that it labelled behind it."""
    dataset, numbers = plain, {row: one.numbers for row, one in lessons.known.items()}
    if other is not None:
        dataset = _with_rows(student, plain, other, lessons.more)
        first = len(plain.table)
        numbers |= {first + i: one.numbers for i, one in enumerate(lessons.more.values())}
    width = len(next(iter(numbers.values())))
    return _with_target(dataset, numbers, width)


def _with_rows(
    student: Config, plain: Dataset, other: Dataset, answers: Mapping[int, Said]
) -> Dataset:
    """The data with rows of another table behind its own, as training rows with these labels."""
    table, extra = plain.table, other.table
    read = {column for name in plain.modalities for column in plain.columns[name]}
    lost = sorted(read - set(extra.columns))
    if table.lazy or extra.lazy or table.mixture is not None or lost:
        what = f"no column '{lost[0]}'" if lost else "it is read as it is needed, or a mixture"
        raise DataError(214, f"unlabelled rows cannot be added: {what}", where=extra.name)
    outside = [c for c in sorted(read) if table.root_of(c) != extra.root_of(c)]
    if outside and any(root is not None for root in (table.root, extra.root)):
        raise DataError(
            201,
            f"media of '{outside[0]}' lie below another folder",
            where=extra.name,
            fix=f"one folder for both: root={table.root}",
        )
    target = student.task.options.get("target", "label")
    labels = columns_of(target_registry.build(student.data.targets[target]))
    rows = list(answers)
    columns = {
        name: [*cells, *_cells(extra.columns.get(name), rows)]
        for name, cells in table.columns.items()
    }
    for i, name in enumerate(labels):
        cells = [one.cell[i] if len(labels) > 1 else one.cell for one in answers.values()]
        columns[name] = [*table.columns[name], *cells]
    places = [table.where(row) for row in range(len(table))] + [extra.where(row) for row in rows]
    whole = dataclasses.replace(table, columns=columns, places=places, lines=None)
    new = np.arange(len(table), len(table) + len(rows))
    splits = {**plain.splits, "train": np.concatenate([plain.rows("train"), new])}
    return dataclasses.replace(plain, table=whole, splits=splits, _lengths={}, _grouped={})


def _cells(column: Sequence[Any] | None, rows: list[int]) -> list[Any]:
    return [None if column is None else column[row] for row in rows]


def _with_target(dataset: Dataset, numbers: Mapping[int, np.ndarray], width: int) -> Dataset:
    """The data with the target `teacher`: numbers and a 1, zeros for rows that it does not know."""
    name = TEACHER
    cells = [
        np.append(numbers[row], np.float32(1)) if row in numbers else None
        for row in range(len(dataset.table))
    ]
    table = dataclasses.replace(dataset.table, columns={**dataset.table.columns, name: cells})
    return dataclasses.replace(
        dataset,
        table=table,
        targets={**dataset.targets, name: VectorProcessor(name, width + 1)},
        columns={**dataset.columns, name: (name,)},
    )
