"""Splits for cross-validation: each row is held out once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Int
from mmjax.data.config import SplitConfig
from mmjax.data.splits import MADE, Splits, dealt
from mmjax.data.table import Table
from mmjax.data.targets.base import Target


def dealt_by(split: SplitConfig, targets: Mapping[str, Target]) -> tuple[str | None, str | None]:
    """The column whose classes are spread evenly, and that whose rows stay together.

    Those of the settings, otherwise those of the only target that is a class, or a thing.
    """
    of: dict[str, list[str]] = {"class": [], "thing": [], "value": []}
    for one in targets.values():
        of[one.role].append(one.column)
    label = of["class"][0] if len(of["class"]) == 1 else None
    thing = of["thing"][0] if len(of["thing"]) == 1 else None
    return split.stratify or label, split.group or thing


def folds(
    table: Table,
    rows: Int[np.ndarray, "n"],
    split: SplitConfig,
    targets: Mapping[str, Target],
    *,
    count: int,
    validation: float = 0.0,
) -> list[Splits]:
    """`count` times `{"train", "validation", "test"}` of `rows`; each is in one fold's test rows.

    Dealt as splits are: stratified where the target is a class or `split.stratify` says so, rows of
    one `split.group` in one fold. That share `validation` of the rows that are left in a fold
    chooses among checkpoints; there is no such split if it is 0. Depends on `split.seed`, the rows
    and those columns alone. Raises ConfigError for fewer than two folds, DataError where a fold
    would be empty.
    """
    if count < 2:
        raise ConfigError(106, f"folds = {count}", fix="2 or more")
    if not 0 <= validation < 1:
        raise ConfigError(106, f"validation = {validation}", fix="from 0 to below 1")
    label, group = dealt_by(split, targets)
    settings = dataclasses.replace(split, group=group)
    names = [str(fold) for fold in range(count)]
    parts = dealt(table, settings, label, rows, dict.fromkeys(names, 1.0 / count))
    found = []
    for fold, name in enumerate(names):
        rest = np.setdiff1d(rows, parts[name])
        one: Splits = {"train": rest, "test": parts[name]}
        if validation:
            # Another seed: by the same one, all folds would choose by nearly the same rows.
            other = dataclasses.replace(settings, seed=split.seed + 1 + fold)
            shares = {"train": 1 - validation, "validation": validation}
            one |= dealt(table, other, label, rest, shares)
        empty = [part for part, held in one.items() if not len(held)]
        if empty:
            raise DataError(
                222,
                f"the split '{empty[0]}' of fold {fold} is empty",
                where=table.name,
                fix=f"{len(rows)} rows, or their groups, are too few for {count} folds",
            )
        found.append({name: one[name] for name in MADE if name in one})
    return found
