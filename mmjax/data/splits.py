"""Which rows train, which choose, which test; stored as row numbers with the run."""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import xxhash

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import atomic, read_json
from mmjax.core.typing import Float, Int
from mmjax.data.cells import key_of, shown
from mmjax.data.config import SplitConfig
from mmjax.data.table import Table

logger = logging.getLogger(__name__)

MADE = ("train", "validation", "test")
"""The splits that `SplitConfig.fractions` makes, in its order."""

_MANY = 10_000

Splits = dict[str, Int[np.ndarray, "_"]]


def make_splits(table: Table, config: SplitConfig, label_column: str | None = None) -> Splits:
    """`{split: rows in ascending order}`; every row is in exactly one.

    By `config.column`, whose every cell must be one of `config.names` (in any case); a split with
    an empty tuple of names is made from the training rows, in proportion to `fractions`. Without a
    column all are made: stratified by `config.stratify` (`label_column` if None), each class within
    one row of its share, a class of one row in training; rows of one `config.group` stay together,
    as near to the shares as that allows. What is made depends on the seed, on the row numbers and
    on those two columns, and on nothing else. Raises DataError for a name that is no split, an
    empty split, and a class of one row if `on_rare_class` is "raise".
    """
    if config.column is not None:
        splits = _by_column(table, config, label_column)
    else:
        splits = dealt(table, config, label_column, np.arange(len(table)), _fractions(config))
    for name, rows in splits.items():
        if not len(rows):
            raise DataError(
                222,
                f"the split '{name}' is empty",
                where=table.name,
                fix=f"see split.column '{config.column}' and split.names"
                if config.column is not None
                else f"{len(table)} rows are too few for fractions {config.fractions}",
            )
    return splits


def thinned(
    splits: Splits, table: Table, share: float, *, column: str | None, seed: int = 0
) -> Splits:
    """The splits with so large a share of the training rows; the others are in no split.

    Each class of `column` keeps its share, rounded up or down, and one row at the least. The rows
    depend on the seed, their numbers and their classes alone; a smaller share is no subset of a
    larger one. Raises ConfigError for a share that is none.
    """
    if not 0 < share <= 1:
        raise ConfigError(106, f"share = {share} is out of range", fix="above 0, up to 1")
    if share == 1:
        return dict(splits)
    rows = splits["train"]
    classes = codes(table, column, rows)
    chosen = _stratified(rows, classes, np.asarray([share, 1 - share]), seed)
    return {**splits, "train": rows[chosen == 0]}


def save(splits: Splits, table: Table, path: str | os.PathLike) -> None:
    """Writes the splits of a table as JSON, whole or not at all.

    Many rows that follow each other are `{"runs": [[start, stop], ...]}`, others a list.
    """
    lists = {name: _shortest(rows) for name, rows in splits.items()}
    with atomic(path) as file:
        json.dump({"fingerprint": table.fingerprint, "rows": len(table), "splits": lists}, file)


def load(path: str | os.PathLike, table: Table, *, allow_change: bool = False) -> Splits:
    """The splits that `save` wrote; a table with another content is refused.

    With `allow_change` only the number of rows must be what it was.
    """
    stored = read_json(path)
    if stored["rows"] != len(table) or (
        stored["fingerprint"] != table.fingerprint and not allow_change
    ):
        raise DataError(
            217,
            f"the data changed since the split was made ({stored['rows']} rows then, "
            f"{len(table)} now)",
            where=table.name,
            fix="restore the data, or start a new run",
        )
    return {name: _rows(rows) for name, rows in stored["splits"].items()}


def _shortest(rows: Int[np.ndarray, "n"]) -> list[int] | dict[str, list[list[int]]]:
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    if len(rows) < _MANY or 2 * (len(breaks) + 1) >= len(rows):
        return rows.tolist()
    starts, stops = rows[np.append(0, breaks)], rows[np.append(breaks, len(rows)) - 1] + 1
    return {"runs": np.stack([starts, stops], axis=1).tolist()}


def _rows(stored: list[int] | Mapping[str, list[list[int]]]) -> Int[np.ndarray, "n"]:
    if isinstance(stored, Mapping):
        return np.concatenate([np.arange(start, stop) for start, stop in stored["runs"]])
    return np.asarray(stored, dtype=np.int64)


def _by_column(table: Table, config: SplitConfig, label_column: str | None) -> Splits:
    assert config.column is not None
    split_of = {_fold(value): name for name, values in config.names.items() for value in values}
    rows: dict[str, list[int]] = {name: [] for name, values in config.names.items() if values}
    for i, cell in enumerate(table.column(config.column)):
        name = split_of.get(_fold(key_of(cell) or ""))
        if name is None:
            raise DataError(
                221,
                f"'{shown(cell)}' is no split",
                where=table.where(i, config.column),
                fix=nearest(str(cell), [v for values in config.names.values() for v in values]),
            )
        rows[name].append(i)
    splits = {name: np.asarray(found, dtype=np.int64) for name, found in rows.items()}
    unnamed = [name for name in config.names if name not in splits]
    if "train" in unnamed:
        raise ConfigError(106, "split.names.train is empty", fix="say which cells are training")
    if unnamed and len(splits.get("train", ())):
        shares = {name: _fractions(config).get(name, 0.0) for name in ("train", *unnamed)}
        splits |= dealt(table, config, label_column, splits["train"], shares)
    return {name: splits[name] for name in config.names if name in splits}


def _fractions(config: SplitConfig) -> dict[str, float]:
    fractions = dict(zip(MADE, config.fractions, strict=True))
    if min(config.fractions) < 0 or not fractions["train"] or abs(sum(config.fractions) - 1) > 1e-6:
        raise ConfigError(
            106,
            f"split.fractions = {config.fractions}",
            fix="give fractions of train, validation and test that add up to 1",
        )
    return fractions


def _fold(value: str) -> str:
    return value.strip().casefold()


def dealt(
    table: Table,
    config: SplitConfig,
    label_column: str | None,
    rows: Int[np.ndarray, "n"],
    fractions: Mapping[str, float],
) -> Splits:
    """Splits of some rows of a table in proportion to the fractions, as `make_splits` makes them
    without a column.
    """
    names = [name for name, fraction in fractions.items() if fraction > 0]
    shares = np.asarray([fractions[name] for name in names])
    shares = shares / shares.sum()
    labels = config.stratify or label_column
    classes = codes(table, labels, rows)
    _check_rare(table, config, labels, rows, classes)
    if config.group is None:
        chosen = _stratified(rows, classes, shares, config.seed)
    else:
        groups = codes(table, config.group, rows, alone=True)
        chosen = _grouped(rows, classes, groups, shares, config.seed)
    return {name: rows[chosen == i] for i, name in enumerate(names)}


def codes(
    table: Table, column: str | None, rows: Int[np.ndarray, "n"], *, alone: bool = False
) -> Int[np.ndarray, "n"]:
    """An integer for each row's value, in order of the values; missing ones share one, or are
    each on their own.
    """
    if column is None:
        return np.zeros(len(rows), dtype=np.int64)
    cells = table.column(column)
    keys: list[tuple[int, Hashable]] = []
    for row in rows.tolist():
        key = key_of(cells[row])
        keys.append((1, row if alone else 0) if key is None else (0, key))
    order = {key: code for code, key in enumerate(sorted(set(keys)))}
    return np.asarray([order[key] for key in keys], dtype=np.int64)


def _check_rare(
    table: Table,
    config: SplitConfig,
    labels: str | None,
    rows: Int[np.ndarray, "n"],
    classes: Int[np.ndarray, "n"],
) -> None:
    if labels is None or not len(rows):
        return
    single = np.flatnonzero(np.bincount(classes) == 1)
    if not len(single):
        return
    cells = table.column(labels)
    first = [int(rows[np.flatnonzero(classes == code)[0]]) for code in single[:5]]
    listed = ", ".join(repr(shown(cells[row])) for row in first)
    message = f"{len(single)} classes of '{labels}' have one row only: {listed}"
    if config.on_rare_class == "raise":
        raise DataError(
            220,
            message,
            where=table.where(first[0], labels),
            fix="add rows, merge classes, or set split.on_rare_class=warn",
        )
    logger.warning("%s; they are in the training split alone", message)


def shuffled(rows: Sequence[int], seed: int) -> list[int]:
    """The positions of `rows` in an order that is a pure function of seed and row numbers.

    A hash, since the streams of NumPy's generators may change with its versions.
    """
    keys = [xxhash.xxh3_64_intdigest(f"{seed}/{row}".encode()) for row in rows]
    return sorted(range(len(rows)), key=keys.__getitem__)


def _stratified(
    rows: Int[np.ndarray, "n"],
    classes: Int[np.ndarray, "n"],
    shares: Float[np.ndarray, "split"],
    seed: int,
) -> Int[np.ndarray, "n"]:
    """The split of each row. Every class gets, in each split, its share rounded up or down; which
    way is chosen so that the splits come out at their whole size.
    """
    chosen = np.empty(len(rows), dtype=np.int64)
    members: dict[int, list[int]] = defaultdict(list)
    for position in shuffled(rows.tolist(), seed):
        members[int(classes[position])].append(position)
    owed = np.zeros(len(shares))
    for _, positions in sorted(members.items()):
        exact = len(positions) * shares
        counts = np.floor(exact + 1e-9).astype(np.int64)
        owed += exact - counts
        may_grow = exact - counts > 1e-9
        for _ in range(len(positions) - int(counts.sum())):
            # Training comes first: a class that is not in it cannot be learnt.
            split = 0 if counts[0] == 0 else int(np.argmax(np.where(may_grow, owed, -np.inf)))
            counts[split] += 1
            owed[split] -= 1
            may_grow[split] = False
        chosen[positions] = np.repeat(np.arange(len(shares)), counts)
    return chosen


def _grouped(
    rows: Int[np.ndarray, "n"],
    classes: Int[np.ndarray, "n"],
    groups: Int[np.ndarray, "n"],
    shares: Float[np.ndarray, "split"],
    seed: int,
) -> Int[np.ndarray, "n"]:
    """The split of each row, the same for all rows of a group.

    Groups are dealt from the largest to the smallest, each to the split where it brings the counts
    of its classes nearest to their shares, by the sum of (count - share)^2 / share. No split stays
    empty while there are groups for it.
    """
    totals = np.bincount(classes)
    wanted = shares[:, None] * totals
    have = np.zeros_like(wanted)
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups.tolist()):
        members[group].append(position)
    order = sorted(shuffled(range(len(members)), seed), key=lambda group: -len(members[group]))
    chosen = np.empty(len(rows), dtype=np.int64)
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        kinds, counts = np.unique(classes[members[group]], return_counts=True)
        missing = wanted[:, kinds] - have[:, kinds]
        cost = ((counts**2 - 2 * counts * missing) / wanted[:, kinds]).sum(axis=1)
        empty = have.sum(axis=1) == 0
        if left <= empty.sum():
            cost[~empty] = np.inf
        split = int(np.argmin(cost))
        have[split, kinds] += counts
        chosen[members[group]] = split
    return chosen
