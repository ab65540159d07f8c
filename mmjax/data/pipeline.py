"""From a config to a data set: read, split, checked, fitted."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json
from mmjax.core.registry import Registry, Spec
from mmjax.data import lazy, manifest, quarantine, sampling
from mmjax.data import splits as split_files
from mmjax.data.cells import key_of
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.config import modalities as modality_registry
from mmjax.data.config import targets as target_registry
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.folds import dealt_by
from mmjax.data.modalities.base import Place
from mmjax.data.quarantine import Quarantine
from mmjax.data.splits import Splits, make_splits
from mmjax.data.table import Table
from mmjax.data.targets.base import (
    SeesModalities,
    Target,
    TargetProcessor,
    cell_of,
    columns_of,
)

logger = logging.getLogger(__name__)


def prepare(
    config: DataConfig,
    *,
    frame: Any = None,
    processors_folder: Path | None = None,
    targets: Literal["required", "optional"] = "required",
    splits: Splits | None = None,
    taken: Mapping[str, Path] | None = None,
) -> Dataset:
    """The data set of a config, its processors fitted on the training rows.

    With `processors_folder`, which `Dataset.save` wrote, nothing is fitted. If the table's content
    is what it was then, splits and quarantine are taken from there as well; other data is split by
    its split column if it has one, and is the one split "all" if not. With targets "optional", rows
    without labels make batches without targets. `splits` are taken as they are if given; `frame` is
    the DataFrame of a `frame` source. `taken` are the folders of modalities whose processor was
    fitted elsewhere. With `few_shot`, few training rows of each class stay; not where nothing is
    fitted.

    Every row is checked before the first batch is made: labels, numbers and texts are read, media
    files found, and under policy `quarantine` opened and decoded as well. So the rows that train
    are known from the start, and batches are a function of seed and step alone. Raises DataError
    for the first bad row, or, under `quarantine`, for more of them than the config allows. The rows
    of a lazy table are checked when a batch takes them, and what is learnt of the training rows is
    learnt of some of them where there are very many.
    """
    settings = _build(modality_registry, config.modalities, "data.modalities")
    wanted: dict[str, Target] = _build(target_registry, config.targets, "data.targets")
    if not settings:
        raise ConfigError(103, "the data has no modality", where="data.modalities", fix="give one")
    for name in (name for name in wanted if name in settings):
        raise ConfigError(
            109,
            f"'{name}' is the name of a modality ({config.modalities[name].name}) and of a target "
            f"({config.targets[name].name})",
            where=f"data.modalities.{name}, data.targets.{name}",
            fix="give one of the two another name, such as 'label' for a target",
        )
    if processors_folder is None:
        for one in wanted.values():
            if isinstance(one, SeesModalities):
                one.check_modalities(settings)
    table, joins = manifest.load(config, frame=frame)
    if targets == "optional":
        wanted = {
            name: one for name, one in wanted.items() if set(columns_of(one)) <= set(table.columns)
        }
    same = False
    if processors_folder is not None:
        same = read_json(processors_folder / "data.json")["table"] == table.fingerprint
    if splits is None:
        splits = _splits(table, config, wanted, processors_folder, same)
    left_out = Quarantine(table, config)
    if same and processors_folder is not None:
        left_out.found = quarantine.load(processors_folder / "quarantine.jsonl")
    elif not table.lazy:
        check = quarantine.check_row(
            table,
            settings,
            wanted if targets == "required" else {},
            decode=config.on_bad_sample == "quarantine",
        )
        left_out.check(_union(splits), check, threads=config.threads)
    splits = _without(splits, left_out)
    if config.few_shot is not None and processors_folder is None:
        few, where = config.few_shot, "data.few_shot"
        column = sampling.class_column(config, few, wanted, where)
        if table.lazy:
            lazy.require_few(table, len(splits["train"]), where)
        splits = sampling.few_of_each(splits, table, column, few)
    policy = config.on_bad_sample
    elsewhere = {name: settings[name].load(folder) for name, folder in (taken or {}).items()}
    rest = {name: one for name, one in settings.items() if name not in elsewhere}
    own = _fit(rest, "modalities", table, splits, processors_folder, policy)
    fitted = {name: {**own, **elsewhere}[name] for name in settings}
    labels = _fit(wanted, "targets", table, splits, processors_folder, policy)
    if targets == "optional":
        labels = _known(labels, wanted, table, splits)
    elif not table.lazy:
        for name, processor in labels.items():
            left_out.check(_union(splits), _encodes(processor, wanted[name], table))
        splits = _without(splits, left_out)
    left_out.report()
    columns = {name: one.reads() for name, one in settings.items()}
    columns |= {name: columns_of(one) for name, one in wanted.items()}
    return Dataset(config, table, splits, fitted, labels, columns, left_out, joins)


def _build(registry: Registry, specs: Mapping[str, Spec], where: str) -> dict[str, Any]:
    for name in specs:
        # Names become folders, and parameters of the model.
        if not name.isidentifier():
            raise ConfigError(
                106, f"'{name}' is no name", where=where, fix="use letters, digits, _"
            )
    return {name: registry.build(spec) for name, spec in specs.items()}


def _splits(
    table: Table,
    config: DataConfig,
    wanted: Mapping[str, Target],
    folder: Path | None,
    same: bool,
) -> Splits:
    if folder is None:
        if table.splits is not None and config.split == SplitConfig():
            return dict(table.splits)
        label, group = dealt_by(config.split, wanted)
        return make_splits(table, dataclasses.replace(config.split, group=group), label)
    if same:
        return split_files.load(folder / "splits.json", table)
    return _given(table, config.split) or {ALL: np.arange(len(table))}


def _given(table: Table, config: SplitConfig) -> Splits:
    """The splits that a column of other data names; none unless every cell is one's name."""
    if config.column is None or config.column not in table.columns:
        return {}
    found = {(key_of(cell) or "").strip().casefold() for cell in table.column(config.column)}
    names = {
        split: values
        for split, values in config.names.items()
        if any(value.strip().casefold() in found for value in values)
    }
    known = {value.strip().casefold() for values in names.values() for value in values}
    return make_splits(table, dataclasses.replace(config, names=names)) if found <= known else {}


def _union(splits: Splits) -> list[int]:
    return np.unique(np.concatenate(list(splits.values()))).tolist()


def _without(splits: Splits, left_out: Quarantine) -> Splits:
    if not left_out.rows:
        return splits
    bad = np.array(sorted(left_out.rows))
    return {name: rows[~np.isin(rows, bad)] for name, rows in splits.items()}


def _fit(
    settings: Mapping[str, Any],
    kind: str,
    table: Table,
    splits: Splits,
    folder: Path | None,
    policy: str,
) -> dict[str, Any]:
    if folder is not None:
        return {name: one.load(folder / kind / name) for name, one in settings.items()}
    if not len(splits.get("train", ())):
        raise DataError(
            222,
            "there are no training rows",
            where=table.name,
            fix=nearest("train", splits),
        )
    rows = lazy.some(table, splits["train"])
    return {name: lazy.fit(one, table, rows, policy) for name, one in settings.items()}


def _encodes(processor: TargetProcessor, target: Target, table: Table) -> Any:
    columns = columns_of(target)
    return lambda row: processor.encode(cell_of(table, columns, row), Place(table, row))


def _known(
    labels: Mapping[str, TargetProcessor],
    wanted: Mapping[str, Target],
    table: Table,
    splits: Splits,
) -> dict[str, TargetProcessor]:
    """The targets that every row has."""
    known: dict[str, TargetProcessor] = {}
    if not labels:
        return known
    rows = lazy.some(table, np.array(_union(splits))).tolist()
    for name, processor in labels.items():
        encode = _encodes(processor, wanted[name], table)
        try:
            for row in rows:
                encode(row)
            known[name] = processor
        except DataError as error:
            logger.warning("no target '%s', since not every row has one: %s", name, error)
    return known
