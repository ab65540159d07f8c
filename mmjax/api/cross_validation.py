"""Cross-validation: as many runs as folds, each measured on rows that it never saw."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.evaluating import strict
from mmjax.api.run import Run
from mmjax.api.training import complete, keeping
from mmjax.checkpoint.lock import holder
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError
from mmjax.core.files import atomic, read_json, write_json
from mmjax.core.registry import Spec
from mmjax.data import lazy
from mmjax.data.config import targets as target_registry
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.folds import folds as deal_folds
from mmjax.data.pipeline import prepare
from mmjax.data.splits import Splits
from mmjax.metrics import mean_and_spread
from mmjax.parallel.distributed import initialize
from mmjax.report.pages import write_page
from mmjax.report.studies import folds_page
from mmjax.train.config import Config
from mmjax.train.evaluate import Evaluation
from mmjax.train.features import Features
from mmjax.train.other_run import processor_folders
from mmjax.train.trainer import fit as fit_run
from mmjax.train.warm_start import with_encoders

log = logging.getLogger(__name__)

_HELD = "out_of_fold.jsonl"
_LOCKED = 602


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """What the folds of a folder gave so far."""

    folder: Path
    metrics: tuple[Mapping[str, float | None], ...]
    """Of each finished fold on its held-out rows."""
    unfinished: tuple[int, ...] = ()
    """The folds that another process is at."""

    def summary(self) -> dict[str, dict[str, Any]]:
        """`{metric: {"mean", "spread", "values"}}` over the finished folds.

        `spread` is the sample standard deviation. Folds share training rows, so that it is not the
        uncertainty of the mean (Bengio and Grandvalet 2004). What is not defined in a fold is left
        out.
        """
        found = {}
        for name in self.metrics[0] if self.metrics else ():
            values = [value for one in self.metrics if (value := one.get(name)) is not None]
            if len(values) == len(self.metrics):
                mean, spread = mean_and_spread(values)
                found[name] = {**strict({"mean": mean, "spread": spread}), "values": values}
        return found


def prepared(config: Config, frame: Any = None, splits: Splits | None = None) -> Dataset:
    """The data of a config, with these splits if they are given."""
    taken = processor_folders(config)
    return prepare(config.data, frame=frame, splits=splits, taken=taken)


def pooled(dataset: Dataset, *, without_test: bool) -> np.ndarray:
    """The rows that folds are made of."""
    if not without_test:
        return dataset.rows(ALL)
    kept = [rows for name, rows in dataset.splits.items() if name in ("train", "validation")]
    return np.unique(np.concatenate(kept))


def fold_splits(
    dataset: Dataset, count: int, *, without_test: bool = False, choose: bool = True
) -> list[Splits]:
    """The splits of each fold of a data set's rows.

    `choose` makes validation rows of a fold's other rows, in the share that the data set has of
    them. Without it a fold's held-out rows are themselves its validation rows, and none are tested.
    """
    rows = pooled(dataset, without_test=without_test)
    wanted = {n: target_registry.build(spec) for n, spec in dataset.config.targets.items()}
    sizes = [len(dataset.splits.get(name, ())) for name in ("train", "validation")]
    share = sizes[1] / sum(sizes) if choose else 0.0
    split = dataset.config.split
    made = deal_folds(dataset.table, rows, split, wanted, count=count, validation=share)
    if choose:
        return made
    return [{"train": one["train"], "validation": one["test"]} for one in made]


def with_all_names(config: Config, dataset: Dataset) -> Config:
    """The config with the names of every class and label spelled out, as the whole data has them.

    A fold's training rows may lack a class that its held-out rows have.
    """
    changed = {}
    rows = lazy.some(dataset.table, dataset.rows(ALL))
    for name, spec in config.data.targets.items():
        known = "label_names" in dataset.targets[name].facts
        settings = target_registry.settings(spec.name)
        if known and "names" in settings and not spec.options.get("names"):
            fitted = target_registry.build(spec).fit(dataset.table, rows)
            changed[name] = spec.replace(names=tuple(fitted.facts["label_names"]))
    targets: dict[str, Spec] = {**config.data.targets, **changed}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, targets=targets))


def cross_validate(
    config: Config,
    workdir: str | os.PathLike,
    *,
    folds: int = 5,
    without_test: bool = False,
    resume: bool = False,
    frame: Any = None,
) -> CrossValidation:
    """A run for each fold in `workdir/fold_<k>`, measured on the rows that it holds out.

    Folds are dealt as splits are (`mmjax.data.folds`): even in classes, without parting a group,
    by `data.split.seed`. They hold all rows, or those for training and validation alone where
    `without_test`. Tokenizers, statistics and thresholds are learnt in each fold anew.

    `cv.json` and `report.html` have mean and spread of every metric, `out_of_fold.jsonl` a
    prediction for every row by the run that did not see it. With `resume`, finished folds stay and
    begun ones go on; folds that another process is at are left to it, so that several may work in
    one folder. Raises CheckpointError for a folder in use without `resume`, ConfigError where it
    was begun with other settings, and for objectives, which predict nothing.
    """
    initialize()
    if config.objectives:
        raise ConfigError(109, "objectives predict nothing to be held out", fix="a task's config")
    config = config_lib.check(config)
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, single_modality_baselines=False)
    )
    folder = Path(workdir)
    plan = {"folds": folds, "without_test": without_test, "config": config_lib.to_json(config)}
    begin(folder / "plan.json", plan, resume=resume)
    paths = [folder / f"fold_{fold}" for fold in range(folds)]
    if any(not (path / _HELD).is_file() for path in paths):
        _train(with_encoders(config), paths, frame, without_test=without_test)
    return _summed_up(folder, paths)


def begin(path: Path, plan: Mapping[str, Any], *, resume: bool) -> None:
    """Writes what a folder is for, or makes sure that it is for the very same thing."""
    plan = json.loads(json.dumps(plan))
    if not path.is_file():
        if RunFolder(path.parent).exists():
            raise CheckpointError(
                601, f"'{path.parent}' holds a single run", fix="name another --workdir"
            )
        write_json(path, plan)
        return
    if not resume:
        raise CheckpointError(
            601,
            f"'{path.parent}' was begun already",
            fix="go on with it by --resume, or use another --workdir",
        )
    changed = config_lib.differences(read_json(path), plan)
    if changed:
        raise ConfigError(
            111,
            f"the folder was begun with other settings: {'; '.join(changed[:5])}",
            where=str(path.parent),
            fix="the same settings, or another --workdir",
        )


def _train(config: Config, paths: list[Path], frame: Any, *, without_test: bool) -> None:
    whole = prepared(config, frame)
    config = with_all_names(config, whole)
    splits = fold_splits(whole, len(paths), without_test=without_test)
    for fold, path in enumerate(paths):
        if (path / _HELD).is_file() or holder(RunFolder(path).lock_file) is not None:
            continue
        try:
            _train_fold(config, path, frame, splits[fold], f"fold {fold + 1} of {len(paths)}")
        except CheckpointError as error:
            if error.code != _LOCKED:
                raise
            log.info("%s was begun by another process just now", path)


def _train_fold(config: Config, path: Path, frame: Any, splits: Splits, title: str) -> None:
    dataset = prepared(config, frame, splits)
    run, found = _trained(config, path, frame, dataset, title)
    answers = run.module.task.decode(found.predictions, dataset.texts(found.rows))
    rows, ids = found.rows.tolist(), dataset.ids(found.rows)
    with atomic(path / _HELD) as file:
        for row, name, answer in zip(rows, ids, answers, strict=True):
            one = {"row": row, "id": name, "fold": int(path.name.rpartition("_")[2]), **answer}
            file.write(json.dumps(one, ensure_ascii=False) + "\n")


def _trained(
    config: Config, path: Path, frame: Any, dataset: Dataset, title: str
) -> tuple[Run, Evaluation]:
    """The run of a fold, and its evaluation on the rows that it held out."""
    kept: dict[str, Features] = {}
    fit_run(
        config,
        path,
        resume=True,
        frame=frame,
        dataset=dataset,
        title=title,
        built=keeping(kept),
    )
    run = Run(path)
    return run, list(complete(run, frame, kept).values())[-1]


def measure_fold(
    config: Config, path: Path, frame: Any, splits: Splits, title: str
) -> dict[str, float]:
    """The metrics on a fold's test rows of a run that is trained on its others, in `path`."""
    return _trained(config, path, frame, prepared(config, frame, splits), title)[1].metrics


def _summed_up(folder: Path, paths: list[Path]) -> CrossValidation:
    done = [path for path in paths if (path / _HELD).is_file()]
    metrics = tuple(read_json(path / "metrics.json")["test"] for path in done)
    left = tuple(i for i, path in enumerate(paths) if path not in done)
    found = CrossValidation(folder, metrics, left)
    if left:
        return found
    lines = [line for path in paths for line in (path / _HELD).read_text("utf-8").splitlines()]
    with atomic(folder / _HELD) as file:
        for line in sorted(lines, key=lambda line: json.loads(line)["row"]):
            file.write(line + "\n")
    summary = found.summary()
    write_json(folder / "cv.json", {"folds": len(paths), "rows": len(lines), "metrics": summary})
    page = folds_page(folder.resolve().name, summary, rows=len(lines), folder=str(folder))
    write_page(folder / "report.html", page)
    return found
