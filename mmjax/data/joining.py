"""Two tables as one: rows joined by key, streams aligned by time."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Float, Int
from mmjax.data.cells import key_of
from mmjax.data.config import Join
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class JoinReport:
    """What a join found: rows of the left with and without a partner, rows of the right unused."""

    left: str
    right: str
    how: str
    matched: int
    unmatched_left: int
    unmatched_right: int

    def __str__(self) -> str:
        return (
            f"joined {self.right} to {self.left} {self.how}: {self.matched} rows matched, "
            f"{self.unmatched_left} without a match, {self.unmatched_right} unused on the right"
        )


def join(left: Table, right: Table, config: Join) -> tuple[Table, JoinReport]:
    """The left table with the columns of the right, cells of rows without a match None.

    Keys are equal as text, so that `1` of one file is `"1"` of another. With `time`, in seconds:
    `nearest` takes the closest row no further than `tolerance` (the earlier of two as close, the
    last of the same earlier time), `window` lists all rows no further, in order of time, and
    `resampled` interpolates numbers linearly between two rows that are both no further. With `on`
    as well, only rows of the same key are aligned. Raises DataError for a key that the right has
    twice, a time that is no number, and a column name that both have.
    """
    _check(config)
    how = " and ".join(
        ([f"on '{config.on}'"] if config.on else [])
        + ([f"by '{config.time}' ({config.rule}, {config.tolerance} s)"] if config.time else [])
    )
    names = _names(left, right, config)
    columns: Mapping[str, Sequence[Any]]
    if config.time is None:
        assert config.on is not None
        rows = _by_key(left, right, config.on)
    elif config.rule == "resampled":
        columns, rows = _resampled(left, right, config, names)
        names = {name: new for name, new in names.items() if new in columns}
    else:
        rows = _by_time(left, right, config)
    if config.rule != "resampled":
        as_list = config.time is not None and config.rule == "window"
        columns = {
            new: Taken(right.column(name), rows, as_list=as_list) for name, new in names.items()
        }
    report = _report(left, right, how, rows)
    logger.log(logging.INFO if report.matched else logging.WARNING, "%s", report)
    roots = {new: right.root_of(name) for name, new in names.items()}
    settings = (config.on, config.time, config.rule, config.tolerance, config.prefix)
    identity = f"{left.fingerprint} {right.fingerprint} {settings}"
    joined = dataclasses.replace(
        left,
        columns={**left.columns, **columns},
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        roots={**left.roots, **roots},
    )
    return joined, report


class Taken(Sequence):
    """Cells of another column by row: the first of each row's, or all as a list; else None."""

    def __init__(self, cells: Sequence[Any], rows: Sequence[Sequence[int]], *, as_list: bool):
        self._cells = cells
        self._rows = rows
        self._as_list = as_list

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        rows = self._rows[index]
        if not len(rows):
            return None
        return [self._cells[i] for i in rows] if self._as_list else self._cells[rows[0]]


def _check(config: Join) -> None:
    if config.on is None and config.time is None:
        raise ConfigError(103, "a join needs 'on' or 'time'", fix="give the column both share")
    if config.time is None and config.rule != "nearest":
        raise ConfigError(103, f"a join by rule '{config.rule}' needs 'time'", fix="give time=...")
    if not config.tolerance >= 0:
        raise ConfigError(106, f"tolerance = {config.tolerance}", fix="give seconds, 0 or more")


def _names(left: Table, right: Table, config: Join) -> dict[str, str]:
    names = {}
    for name in right.columns:
        if name not in (config.on, config.time):
            names[name] = config.prefix + name
            if names[name] in left.columns:
                raise DataError(
                    232,
                    f"both tables have a column '{names[name]}'",
                    where=f"{left.name} and {right.name}",
                    fix="give the join a prefix",
                )
    return names


def _by_key(left: Table, right: Table, on: str) -> list[Sequence[int]]:
    wanted = [key_of(cell) for cell in left.column(on)]
    places: dict[str, list[int]] = defaultdict(list)
    for i, cell in enumerate(right.column(on)):
        key = key_of(cell)
        if key is not None:
            places[key].append(i)
    twice = [key for key, rows in places.items() if len(rows) > 1]
    if twice:
        first, second = places[twice[0]][:2]
        raise DataError(
            231,
            f"{len(twice)} keys in '{on}' occur more than once: " + ", ".join(map(repr, twice[:5])),
            where=f"{right.where(first, on)} and {right.where(second, on)}",
            fix="keep one row a key on the right side",
        )
    return [places.get(key, ()) if key is not None else () for key in wanted]


def _times(table: Table, column: str) -> Float[np.ndarray, "n"]:
    """Seconds, NaN where a row has none."""
    times = np.full(len(table), np.nan)
    for i, cell in enumerate(table.column(column)):
        if cell is not None:
            time = parse_number(cell)
            if time is None:
                raise DataError(
                    233,
                    f"{cell!r} is no time in seconds",
                    where=table.where(i, column),
                    fix="write a decimal number of seconds",
                )
            times[i] = time
    return times


@dataclasses.dataclass(frozen=True)
class _Group:
    """Rows of both sides that may be aligned, the right ones in order of time."""

    left: Int[np.ndarray, "n"]
    right: Int[np.ndarray, "m"]
    wanted: Float[np.ndarray, "n"]
    times: Float[np.ndarray, "m"]


def _groups(left: Table, right: Table, config: Join) -> list[_Group]:
    assert config.time is not None
    wanted, times = _times(left, config.time), _times(right, config.time)
    sides: tuple[dict, dict] = (defaultdict(list), defaultdict(list))
    for side, table, known in zip(sides, (left, right), (wanted, times), strict=True):
        keys = [""] * len(table) if config.on is None else map(key_of, table.column(config.on))
        for i, key in enumerate(keys):
            if key is not None and not np.isnan(known[i]):
                side[key].append(i)
    groups = []
    for key, rows in sides[0].items():
        if key in sides[1]:
            mine, theirs = np.asarray(rows), np.asarray(sides[1][key])
            theirs = theirs[np.argsort(times[theirs], kind="stable")]
            groups.append(_Group(mine, theirs, wanted[mine], times[theirs]))
    return groups


def _by_time(left: Table, right: Table, config: Join) -> list[Sequence[int]]:
    rows: list[Sequence[int]] = [()] * len(left)
    for group in _groups(left, right, config):
        if config.rule == "window":
            start = np.searchsorted(group.times, group.wanted - config.tolerance, side="left")
            stop = np.searchsorted(group.times, group.wanted + config.tolerance, side="right")
        else:
            before, after = _distances(group.times, group.wanted)
            later = np.searchsorted(group.times, group.wanted, side="right")
            start = np.where(before <= after, later - 1, later)
            stop = start + (np.minimum(before, after) <= config.tolerance)
        for i, a, b in zip(group.left.tolist(), start.tolist(), stop.tolist(), strict=True):
            rows[i] = group.right[a:b].tolist()
    return rows


def _distances(
    times: Float[np.ndarray, "m"], wanted: Float[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Seconds to the last time that is not later, and to the first that is later; inf if none."""
    later = np.searchsorted(times, wanted, side="right")
    padded = np.concatenate([[-np.inf], times, [np.inf]])
    return wanted - padded[later], padded[later + 1] - wanted


def _resampled(
    left: Table, right: Table, config: Join, names: Mapping[str, str]
) -> tuple[dict[str, list[float | None]], list[Sequence[int]]]:
    numeric, others = {}, []
    for name, new in names.items():
        parsed = [parse_number(cell) for cell in right.column(name)]
        known = [cell is not None for cell in right.column(name)]
        if any(known) and all(p is not None for p, k in zip(parsed, known, strict=True) if k):
            numeric[new] = np.asarray(parsed, dtype=np.float64)
        else:
            others.append(name)
    if not numeric:
        raise DataError(
            234, "no column of numbers to resample", where=right.name, fix="use rule 'nearest'"
        )
    if others:
        logger.info("not resampled, being no numbers: %s", ", ".join(others))
    columns: dict[str, list[float | None]] = {new: [None] * len(left) for new in numeric}
    rows: list[Sequence[int]] = [()] * len(left)
    for group in _groups(left, right, config):
        for new, values in numeric.items():
            kept = ~np.isnan(values[group.right])
            times, used = group.times[kept], group.right[kept]
            if not len(times):
                continue
            before, after = _distances(times, group.wanted)
            near = (before == 0) | ((before <= config.tolerance) & (after <= config.tolerance))
            found = np.interp(group.wanted, times, values[used])
            later = np.searchsorted(times, group.wanted, side="right")
            for k in np.flatnonzero(near).tolist():
                i = int(group.left[k])
                columns[new][i] = float(found[k])
                pair = used[max(later[k] - 1, 0) : later[k] + (before[k] > 0)].tolist()
                rows[i] = sorted({*rows[i], *pair})
    return columns, rows


def _report(left: Table, right: Table, how: str, rows: Sequence[Sequence[int]]) -> JoinReport:
    matched = sum(1 for found in rows if len(found))
    used = {i for found in rows for i in found}
    return JoinReport(
        left=left.name,
        right=right.name,
        how=how,
        matched=matched,
        unmatched_left=len(left) - matched,
        unmatched_right=len(right) - len(used),
    )
