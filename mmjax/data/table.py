"""Rows of raw cells: what every source returns."""

from __future__ import annotations

import bisect
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import DataError, nearest
from mmjax.core.typing import Int


@dataclasses.dataclass(frozen=True)
class BadRow:
    """A row that could not be read and is in no column: where it is and what is wrong with it."""

    name: str
    line: int
    column: str | None
    code: int
    message: str
    fix: str = ""

    def error(self, more: int = 0) -> DataError:
        """The error that policy `raise` raises; `more` counts the others like it."""
        what = self.message + (f" (and {more} more bad rows)" if more else "")
        where = ":".join([self.name, str(self.line)] + ([self.column] if self.column else []))
        return DataError(self.code, what, where=where, fix=self.fix)


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length with random access; cells are decoded by nobody yet.

    A cell is None (missing), a str, a number, or for media a path, bytes, a NumPy array or a
    PIL image. `name` stands for the table in errors. `root` is the folder that media paths are
    relative to and may not leave; None if the table has none. `lines` gives each row's line in its
    file, for errors, and `places` the whole place of rows that are in several files. `fingerprint`
    changes when the content does. `bad` are the rows that could not be read. `roots` holds the
    folder of columns that a join brought from elsewhere. `splits` are the rows of each split if the
    source knows them. The cells of a `lazy` table are read from storage when they are asked for, so
    that its rows are checked when a batch takes them, and not all of them before. `mixture` says
    how the rows of several sources take turns in training.
    """

    columns: Mapping[str, Sequence[Any]]
    name: str
    fingerprint: str
    root: Path | None = None
    lines: Sequence[int] | None = None
    bad: tuple[BadRow, ...] = ()
    roots: Mapping[str, Path | None] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, Int[np.ndarray, "_"]] | None = None
    places: Sequence[str] | None = None
    lazy: bool = False
    mixture: Mixture | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def column(self, name: str) -> Sequence[Any]:
        """The cells of a column; an unknown name is refused with the nearest one."""
        if name not in self.columns:
            raise DataError(
                214, f"no column '{name}'", where=self.name, fix=nearest(name, self.columns)
            )
        return self.columns[name]

    def row(self, index: int) -> dict[str, Any]:
        """`{column: cell}` of one row."""
        return {name: cells[index] for name, cells in self.columns.items()}

    def root_of(self, column: str, row: int | None = None) -> Path | None:
        """The folder that the media paths of a column are relative to, in a mixture of a row."""
        if column in self.roots or self.mixture is None or row is None:
            return self.roots.get(column, self.root)
        part = self.mixture.part_of(row)
        return part.table.root_of(column, row - part.start)

    def where(self, index: int, column: str | None = None) -> str:
        """`file:line:column`, the place of a row or cell, for errors."""
        if self.mixture is not None:
            part = self.mixture.part_of(index)
            return part.table.where(index - part.start, column)
        if self.places is not None:
            place = self.places[index]
        else:
            place = f"{self.name}:{self.lines[index] if self.lines is not None else index}"
        return ":".join([place] + ([column] if column else []))

    def require_good(self) -> None:
        """Raises the first bad row as DataError, as policy `raise` asks."""
        if self.bad:
            raise self.bad[0].error(len(self.bad) - 1)


@dataclasses.dataclass(frozen=True)
class Part:
    """A source of a mixture: its table is the rows `start` to `stop` of the whole."""

    name: str
    start: int
    stop: int
    weight: float
    """Its share of the training examples, beside the weights of the others."""
    table: Table


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Sources one after another in a table, that take turns in training by their weights.

    `epoch` says when an epoch ends: when the first part has been seen once, or when all have.
    """

    parts: tuple[Part, ...]
    epoch: Literal["first", "all"] = "all"

    def part_of(self, row: int) -> Part:
        """The part that a row of the whole table is of."""
        return self.parts[bisect.bisect_right(self.parts, row, key=lambda part: part.start) - 1]


def check_ids(table: Table, column: str) -> None:
    """Raises DataError if two rows share an id, or one has none; names the first five."""
    ids = table.column(column)
    counts = Counter(ids)
    missing = counts.pop(None, 0)
    if missing:
        row = next(i for i, cell in enumerate(ids) if cell is None)
        raise DataError(
            213,
            f"{missing} rows have no id in '{column}'",
            where=table.where(row, column),
            fix="give every row an id, or no id column",
        )
    twice = [cell for cell, count in counts.items() if count > 1]
    if twice:
        first = list(ids).index(twice[0])
        second = list(ids).index(twice[0], first + 1)
        raise DataError(
            213,
            f"{len(twice)} ids in '{column}' occur more than once: "
            + ", ".join(map(repr, twice[:5])),
            where=f"{table.where(first, column)} and {table.where(second, column)}",
            fix="make them unique, or choose another id column",
        )
