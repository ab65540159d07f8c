"""What a point of a search is worth: a training, or one for each fold, by its validation rows."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.cross_validation import fold_splits, prepared, with_all_names
from mmjax.checkpoint.lock import holder
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, NumericError
from mmjax.data.dataset import Dataset
from mmjax.data.splits import Splits
from mmjax.train.config import Config
from mmjax.train.hooks import Moment
from mmjax.train.selection import mode_of
from mmjax.train.trainer import fit as fit_run
from mmjax.train.trainer import has_validation
from mmjax.train.warm_start import with_encoders
from mmjax.writers import read_records

Report = Callable[[int, float], bool]
"""Called with a step and the metric there; whether to stop, since it is not worth going on."""

Objective = Callable[[Config, Path, Report], float]
"""What a config is worth, tried in a folder of its own. Raises Pruned where it was told to stop."""


class Pruned(Exception):
    """A trial was told to stop."""


@dataclasses.dataclass
class Watch:
    """A hook of the trainer: reports the validation metric, and ends a training that is to stop."""

    metric: str
    report: Report
    pruned: bool = False

    def __call__(self, moment: Moment) -> None:
        if self.metric in moment.metrics and self.report(moment.step, moment.metrics[self.metric]):
            self.pruned = True
            moment.stop = "a search that it is part of has better ones"


class Training:
    """The objective of a search: the best validation metric of a training.

    Test rows are never looked at. `splits` take the place of the data's own. With `folds`, the mean
    over as many trainings, each validated on a fold of the training and validation rows; a search
    is then told the mean of the folds so far. A training that was begun goes on from its last
    checkpoint. Data that is prepared the same way is prepared once.
    """

    def __init__(self, *, folds: int = 0, splits: Splits | None = None, frame: Any = None):
        self._folds, self._splits, self._frame = folds, splits, frame
        self._datasets: dict[str, Dataset] = {}

    def check(self, config: Config) -> None:
        """Raises ConfigError where there are no validation rows to go by."""
        dataset = self._dataset("base", config, self._splits)
        if not self._folds and not has_validation(dataset):
            raise ConfigError(
                109,
                "there are no validation rows to choose by",
                where="data.split",
                fix="give a validation split, or search with folds",
            )

    def __call__(self, config: Config, folder: Path, report: Report) -> float:
        config = with_encoders(lean(config))
        if not self._folds:
            dataset = self._dataset("base", config, self._splits)
            return self._train(config, folder, dataset, report, title=folder.name)
        whole = self._dataset("base", config, self._splits)
        config = with_all_names(config, whole)
        splits = fold_splits(whole, self._folds, without_test=True, choose=False)
        values: list[float] = []
        for fold, one in enumerate(splits):
            dataset = self._dataset(f"fold {fold}", config, one)
            title = f"{folder.name}, fold {fold + 1} of {self._folds}"
            path = folder / f"fold_{fold}"
            values.append(self._train(config, path, dataset, _never, title=title))
            # After the last fold there is nothing left to save by stopping.
            if report(fold + 1, float(np.mean(values))) and fold + 1 < self._folds:
                raise Pruned
        return float(np.mean(values))

    def _train(
        self, config: Config, folder: Path, dataset: Dataset, report: Report, *, title: str
    ) -> float:
        metric = config.train.best_metric
        watch = Watch(metric, report)
        for step, value in curve(folder, metric).items():
            report(step, value)
        frame = self._frame
        fit_run(
            config, folder, resume=True, frame=frame, dataset=dataset, title=title, hooks=[watch]
        )
        if watch.pruned:
            raise Pruned
        return best(curve(folder, metric), metric, str(folder))

    def _dataset(self, name: str, config: Config, splits: Splits | None) -> Dataset:
        """The newest data set of each name is kept, and taken again if nothing about it changed."""
        settings = config_lib.to_json(config)
        key = json.dumps([name, settings["data"], settings["init"]])
        if key not in self._datasets:
            for other in [one for one in self._datasets if json.loads(one)[0] == name]:
                del self._datasets[other]
            self._datasets[key] = prepared(config, self._frame, splits)
        return self._datasets[key]


def lean(config: Config) -> Config:
    """The config without what a trial does not need, and with the numbers that it does."""
    train = config.train
    writers = train.writers if "jsonl" in train.writers else (*train.writers, "jsonl")
    changed = dataclasses.replace(train, single_modality_baselines=False, writers=writers)
    return dataclasses.replace(config, train=changed)


def curve(folder: Path, metric: str) -> dict[int, float]:
    """The metric on the validation rows by step, as a run wrote it."""
    path = RunFolder(folder).metrics
    records = read_records(path) if path.is_file() else []
    name = f"validation/{metric}"
    return {int(one["step"]): float(one[name]) for one in records if one.get(name) is not None}


def best(values: Mapping[int, float], metric: str, where: str) -> float:
    """The best of a curve. Raises NumericError where it has no number."""
    known = [value for value in values.values() if math.isfinite(value)]
    if not known:
        raise NumericError(
            701, f"'{metric}' on the validation rows was never a number", where=where
        )
    return min(known) if mode_of(metric) == "min" else max(known)


def free_folder(folder: Path) -> Path:
    """The folder of a trial that goes on, or another where a process may still be at it."""
    attempt, path = 1, folder
    while any(holder(lock) is not None for lock in path.glob("**/run.lock")):
        attempt += 1
        path = folder.with_name(f"{folder.name}_{attempt}")
    return path


def _never(step: int, value: float) -> bool:
    return False
