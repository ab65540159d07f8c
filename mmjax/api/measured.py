"""What a run answered on some rows, so that its metrics can be measured again on any of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjax.api.run import Run
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Bool
from mmjax.data.dataset import Dataset
from mmjax.metrics.paired import draws
from mmjax.train.evaluate import Evaluation


class Measured:
    """A run's answers on a split, its rows in the order of their ids."""

    def __init__(self, name: str, run: Run, dataset: Dataset, found: Evaluation):
        require_task(run)
        self.name = name
        self.task: Any = run.module.task
        self.named = dataset.config.id_column is not None
        self.table = dataset.table.fingerprint
        ids = [str(one) for one in dataset.ids(found.rows)]
        order = np.argsort(np.array(ids), kind="stable")
        self.rows = np.asarray(found.rows)[order]
        self.ids = [ids[i] for i in order]
        self.predictions = {k: np.asarray(v)[order] for k, v in found.predictions.items()}
        self.targets = {k: np.asarray(v)[order] for k, v in found.targets.items()}
        self.texts = {
            name: [cells[i] for i in range(len(order))]
            for name, cells in dataset.texts(found.rows[order]).items()
        }
        self.truth = self._truth()
        self.metrics = self.measure(np.arange(len(order)))

    @classmethod
    def of(cls, name: str, run: Run, data: Any, split: str, root: str | None) -> Measured:
        """A run's answers on a split of data."""
        require_task(run)
        dataset = run.dataset(data, root=root, labels=True)
        return cls(name, run, dataset, run.evaluate_dataset(dataset, split))

    def _truth(self) -> list[Any]:
        """What is true of each row, in terms that do not depend on the run."""
        target = getattr(self.task, "target", "")
        if f"{target}/references" in self.texts:
            return list(self.texts[f"{target}/references"])
        values = self.targets.get(target, next(iter(self.targets.values()), np.zeros(0)))
        names = getattr(self.task, "label_names", ())
        if names and values.dtype == bool:
            return [sorted(names[i] for i in np.flatnonzero(row)) for row in values]
        if names and values.ndim == 1 and values.dtype.kind in "iu":
            return [names[i] if i >= 0 else None for i in values]
        if hasattr(self.task, "in_units"):
            values = self.task.in_units(values)
        if values.dtype.kind == "f":
            # Each run may have scaled them by what it was trained on.
            return [[f"{one:.4g}" for one in np.ravel(row)] for row in values]
        return values.tolist()

    def measure(self, at: np.ndarray) -> dict[str, float]:
        """The metrics of some rows, which may be there more than once."""
        predictions = {k: v[at] for k, v in self.predictions.items()}
        targets = {k: v[at] for k, v in self.targets.items()}
        if not self.task.needs_texts:
            found = self.task.evaluate(predictions, targets)
        else:
            texts = {k: [v[i] for i in at] for k, v in self.texts.items()}
            found = self.task.evaluate(predictions, targets, texts=texts)
        return {name: value for name, value in found.items() if "/" not in name}

    def right(self) -> Bool[np.ndarray, "n"] | None:
        """Whether each row's answer is right; None where answers are not just right or wrong."""
        chances = self.predictions.get("probabilities")
        truth = self.targets.get(getattr(self.task, "target", ""))
        if chances is None or truth is None:
            return None
        if self.task.outputs_are == "classes" and chances.ndim == 2 and truth.ndim == 1:
            said = self.predictions.get("rank", chances.argmax(axis=1))
            return said == truth
        if self.task.outputs_are == "labels" and chances.shape == truth.shape:
            return ((chances >= self.task.cuts()) == truth).all(axis=1)
        return None


def require_task(run: Run) -> None:
    """Raises ConfigError for a run of pretraining objectives."""
    if run.config.objectives:
        raise ConfigError(
            109,
            f"'{run.folder.path}' is a run of pretraining objectives",
            where="compare",
            fix="runs of a task",
        )


def intervals(
    measured: Measured, *, resamples: int, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The percentile bootstrap interval over rows of every metric that is not one class's.

    A metric that is not defined on some of the resamples has the interval of the others.
    """
    names = [name for name, value in measured.metrics.items() if np.isfinite(value)]
    found = np.full((resamples, len(names)), np.nan)
    for i, at in enumerate(draws(len(measured.ids), resamples=resamples, seed=seed)):
        values = measured.measure(at)
        found[i] = [values.get(name, np.nan) for name in names]
    sides = ((1 - level) / 2, (1 + level) / 2)
    return {
        name: tuple(np.nanquantile(column, sides).tolist())
        for name, column in zip(names, found.T, strict=True)
        if np.isfinite(column).any()
    }
