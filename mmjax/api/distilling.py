"""A small model taught by a large one: from a run of several modalities to one of fewer."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.reporting import title_of
from mmjax.api.run import Run
from mmjax.api.training import complete, single_modality
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import write_json
from mmjax.core.registry import Spec
from mmjax.core.typing import Float
from mmjax.data.config import targets as target_registry
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.pipeline import prepare
from mmjax.data.targets.base import columns_of
from mmjax.data.targets.vector import VectorProcessor
from mmjax.train.config import Config
from mmjax.train.other_run import processor_folders
from mmjax.train.trainer import fit
from mmjax.train.warm_start import with_encoders

TEACHER = "teacher"


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
) -> Run:
    """A student that learns the labels of its training rows, and what `teacher` says of them.

    The student is that of `config`, of a task `classification` over the teacher's labels; without
    one, the teacher's own model with `modality` alone. Its loss is that of
    `mmjax.tasks.distilled`: a share `weight` comes from the teacher's probabilities, softened by
    `temperature`. What the teacher reads, such as other modalities, must be in the same data.

    With `unlabelled`, a manifest of further rows without labels (`root` as in `mmjax.fit`), those
    of which the teacher is at least so sure (`confidence`) train as well, with its answer as their
    label: self-training, also of a model by itself.

    The run in `workdir` is of a plain classification: nothing of the teacher is needed to use it.
    `distillation.json` says how it was taught. `frame` is the DataFrame of a `frame` source. Raises
    ConfigError for tasks and labels that do not fit, DataError for rows that the teacher cannot
    read.
    """
    told = teacher if isinstance(teacher, Run) else Run(teacher)
    asked = _student(told, config, modality)
    student = with_encoders(config_lib.check(asked))
    taught = dataclasses.replace(
        student,
        task=Spec(
            "distilled_classification",
            **student.task.options,
            teacher_weight=weight,
            temperature=temperature,
        ),
        train=dataclasses.replace(student.train, single_modality_baselines=False),
    )
    plain = prepare(student.data, frame=frame, taken=processor_folders(student))
    names = plain.facts["targets"][_target(student)]["label_names"]
    dataset, extra = plain, 0
    chances: dict[int, np.ndarray] = _on_training_rows(told, plain, names, frame)
    if unlabelled is not None:
        dataset, more = _with_unlabelled(
            told, student, plain, names, unlabelled, confidence=confidence, root=root
        )
        chances, extra = {**chances, **more}, len(more)
    dataset = _with_teacher(dataset, chances, len(names))
    folder = fit(taught, Path(workdir), dataset=dataset, title=f"{title_of(student)}, taught")
    # What the teacher was for is over: the run is what its student is.
    plain.save(folder.processors)
    shutil.rmtree(folder.processors / "targets" / TEACHER, ignore_errors=True)
    folder.write_facts(plain.facts)
    folder.write_config(config_lib.to_json(dataclasses.replace(taught, task=student.task)))
    about = {
        "teacher": str(told.folder.path),
        "weight": weight,
        "temperature": temperature,
        "rows": len(plain.rows("train")),
        "unlabelled_rows": extra,
        "confidence": confidence if unlabelled is not None else None,
    }
    write_json(folder.path / "distillation.json", about)
    run = Run(folder.path)
    complete(run, frame)
    return run


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
        if one.objectives or one.task.name != "classification":
            what = "pretraining objectives" if one.objectives else f"the task '{one.task.name}'"
            raise ConfigError(
                109, f"the {whose} is of {what}", where="task", fix="task=classification"
            )
    return found


def _target(config: Config) -> str:
    return config.task.options.get("target", "label")


def _on_training_rows(
    teacher: Run, plain: Dataset, names: Sequence[str], frame: Any
) -> dict[int, np.ndarray]:
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
    return _answers(teacher, read, "train", names)


def _answers(
    teacher: Run, dataset: Dataset, split: str, names: Sequence[str]
) -> dict[int, np.ndarray]:
    """Probabilities over `names`, by row."""
    found = teacher.evaluate_dataset(dataset, split)
    task: Any = teacher.module.task
    missing = [name for name in names if name not in task.label_names]
    if missing:
        raise ConfigError(
            109,
            f"the teacher does not know the label '{missing[0]}'",
            where=str(teacher.folder.path),
            fix=nearest(missing[0], task.label_names),
        )
    order = [task.label_names.index(name) for name in names]
    chances = np.asarray(found.predictions["probabilities"], np.float32)[:, order]
    chances = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-9)
    return dict(zip(found.rows.tolist(), chances, strict=True))


def _with_unlabelled(
    teacher: Run,
    student: Config,
    plain: Dataset,
    names: Sequence[str],
    unlabelled: Any,
    *,
    confidence: float,
    root: str | None,
) -> tuple[Dataset, dict[int, np.ndarray]]:
    """The data with the rows of another table of which the teacher is sure behind its own."""
    if not 0 <= confidence <= 1:
        raise ConfigError(106, f"confidence = {confidence}", fix="expected 0 to 1")
    other = teacher.dataset(unlabelled, root=root)
    found = _answers(teacher, other, ALL, names)
    sure = {row: one for row, one in found.items() if one.max() >= confidence}
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
    label = columns_of(target_registry.build(student.data.targets[_target(student)]))[0]
    rows = list(sure)
    answers = [names[int(sure[row].argmax())] for row in rows]
    columns = {
        name: [*cells, *_cells(extra.columns.get(name), rows)]
        for name, cells in table.columns.items()
    }
    columns[label] = [*table.columns[label], *answers]
    places = [table.where(row) for row in range(len(table))] + [extra.where(row) for row in rows]
    whole = dataclasses.replace(table, columns=columns, places=places, lines=None)
    new = np.arange(len(table), len(table) + len(rows))
    splits = {**plain.splits, "train": np.concatenate([plain.rows("train"), new])}
    made = dataclasses.replace(plain, table=whole, splits=splits, _lengths={}, _grouped={})
    return made, {int(place): sure[row] for place, row in zip(new, rows, strict=True)}


def _cells(column: Sequence[Any] | None, rows: list[int]) -> list[Any]:
    return [None if column is None else column[row] for row in rows]


def _with_teacher(
    dataset: Dataset, chances: dict[int, Float[np.ndarray, "v"]], width: int
) -> Dataset:
    """The data with what the teacher says as a target; rows that it does not know have zeros."""
    name = TEACHER
    cells = [chances.get(row) for row in range(len(dataset.table))]
    table = dataclasses.replace(dataset.table, columns={**dataset.table.columns, name: cells})
    return dataclasses.replace(
        dataset,
        table=table,
        targets={**dataset.targets, name: VectorProcessor(name, width)},
        columns={**dataset.columns, name: (name,)},
    )
