"""What a task finds on rows once it is trained, such as thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mmjax.api.run import Run
from mmjax.data.dataset import Dataset
from mmjax.train.evaluate import Evaluation, of_all_rows

MOST = 20_000
"""Training rows that a task learns from after training; of more, evenly spaced ones."""

_LEARNT = "learnt_from"


@runtime_checkable
class Learns(Protocol):
    """A task that takes something of the training rows once the model is trained."""

    @property
    def target(self) -> str:
        """The target that its facts belong to."""

    @property
    def learns(self) -> bool:
        """Whether it does, as it is set."""

    def learn(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """Facts, as JSON values, that the task is built with from then on."""


def learnt(run: Run, dataset: Dataset) -> None:
    """Lets a task that learns see the training rows, as evaluation does, before any other.

    What it finds is a fact like those of `tuned`, which adds to them.
    """
    task: Any = run.module.task
    if not isinstance(task, Learns) or not task.learns:
        return
    run.folder.tuned.unlink(missing_ok=True)
    _renew(run, programs=True)
    rows = dataset.rows("train")
    if len(rows) > MOST:
        rows = rows[np.linspace(0, len(rows) - 1, MOST).astype(np.int64)]
    some = dataclasses.replace(dataset, splits={**dataset.splits, _LEARNT: rows})
    seen = run.evaluate_dataset(some, _LEARNT)
    run.folder.write_tuned(task.target, task.learn(seen.predictions, seen.targets))
    _renew(run, programs=True)


def tuned(run: Run, validation: Evaluation, dataset: Dataset) -> Evaluation:
    """The evaluation on the validation rows under what the task chooses on them.

    The run folder keeps it (`tuned.json`), and the run goes by it from now on. Metrics on these
    very rows are better than they would be on others.
    """
    task: Any = run.module.task
    chosen = {}
    for one, predictions in task.each(validation.predictions):
        part: Any = one
        if getattr(part, "needs_target", True) and part.target not in validation.targets:
            continue
        found = part.tune(predictions, validation.targets)
        if found:
            chosen[part.target] = found
    if not chosen:
        return validation
    known = run.folder.read_tuned() if getattr(task, "learns", False) else {}
    for target, found in chosen.items():
        run.folder.write_tuned(target, {**known.get(target, {}), **found})
    _renew(run)
    task = run.module.task
    measured = of_all_rows(
        task, validation.predictions, validation.targets, validation.rows, dataset.texts
    )
    return dataclasses.replace(validation, metrics={**validation.metrics, **measured})


def _renew(run: Run, *, programs: bool = False) -> None:
    """Makes the run build its module again with the facts as they are now, and what is compiled."""
    for name in ("facts", "module"):
        vars(run).pop(name, None)
    if programs:
        vars(run).update(_function=None, _embed={})
