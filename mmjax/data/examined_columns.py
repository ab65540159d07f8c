"""Columns, ids and splits: what is wrong with them whatever the cells of rows hold."""

from __future__ import annotations

import dataclasses

from mmjax.core.errors import MMJaxError, nearest
from mmjax.data.cells import key_of, shown
from mmjax.data.config import SplitConfig
from mmjax.data.config import modalities as modality_registry
from mmjax.data.config import targets as target_registry
from mmjax.data.examined import Examined
from mmjax.data.folds import dealt_by
from mmjax.data.kinds import column_of
from mmjax.data.schema import leak_of
from mmjax.data.splits import make_splits
from mmjax.data.targets.base import columns_of

_MOSTLY_EMPTY = 0.5


def build(seen: Examined) -> None:
    """The modalities and targets whose columns are there."""
    missing: set[str] = set()
    for kind, registry, specs in (
        ("modalities", modality_registry, seen.config.modalities),
        ("targets", target_registry, seen.config.targets),
    ):
        for name, spec in specs.items():
            one = registry.build(spec)
            lacking = [
                column
                for column in (one.reads() if kind == "modalities" else columns_of(one))
                if column not in seen.table.columns
            ]
            for column in lacking:
                if column not in missing:
                    fix = nearest(column, seen.table.columns)
                    seen.add(214, f"no column '{column}', which {name} reads", fix=fix)
            missing.update(lacking)
            if not lacking:
                (seen.modalities if kind == "modalities" else seen.targets)[name] = one


def ids(seen: Examined) -> None:
    """Each row without an id, and each whose id is another's as well."""
    column = seen.config.id_column
    if column is None:
        return
    if column not in seen.table.columns:
        fix = nearest(column, seen.table.columns)
        return seen.add(214, f"no column '{column}', which names rows", fix=fix)
    first: dict[str, int] = {}
    for row, cell in enumerate(seen.table.column(column)):
        key = key_of(cell)
        if key is None:
            seen.add(213, "the row has no id", row=row, column=column, fix="give every row an id")
        elif first.setdefault(key, row) != row:
            other = seen.table.where(first[key])
            told = f"the id '{shown(key)}' is that of {other} as well"
            seen.add(213, told, row=row, column=column, fix="make ids unique")
    return None


def columns(seen: Examined) -> None:
    """Columns that teach nothing, are mostly empty, or give the label away."""
    labels = [one.column for one in seen.targets.values() if one.role == "class"]
    for name, modality in seen.modalities.items():
        for column in modality.reads():
            found = column_of(seen.table, column)
            count = len(seen.table)
            if found.missing is not None and found.missing > _MOSTLY_EMPTY * count:
                told = f"{found.missing} of {count} cells are empty"
                fix = "leave the column out, or see why"
                seen.add(228, told, column=column, fix=fix, severity="warning")
            elif found.distinct == 1 and count > 1:
                told = f"{name} reads a column whose cells are all the same"
                fix = "leave the column out"
                seen.add(228, told, column=column, fix=fix, severity="warning")
            leaked = leak_of(seen.table, found, labels[0]) if len(labels) == 1 else ""
            if leaked and column != labels[0]:
                seen.add(227, leaked, column=column, severity="warning")


def split(seen: Examined) -> None:
    """The splits, from the rows whose split is known."""
    config, table = seen.config.split, seen.table
    if table.splits is not None and config == SplitConfig():
        seen.splits = dict(table.splits)
        return
    label, group = dealt_by(config, seen.targets)
    if config.column is not None and config.column in table.columns:
        known = {v.strip().casefold() for values in config.names.values() for v in values}
        for row, cell in enumerate(table.column(config.column)):
            if (key_of(cell) or "").strip().casefold() not in known:
                told = f"'{shown(cell)}' is no split"
                names = [v for values in config.names.values() for v in values]
                fix = nearest(str(cell), names)
                seen.add(221, told, row=row, column=config.column, fix=fix)
    if seen.bad and any(one.code == 221 for one in seen.problems):
        return
    try:
        plain = dataclasses.replace(config, group=group, on_rare_class="warn")
        seen.splits = make_splits(table, plain, label)
    except MMJaxError as error:
        # What has no target may be rows to predict, which need no splits.
        if seen.targets or config.column is not None:
            seen.error(error)
