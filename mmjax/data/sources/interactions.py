"""Who chose what, one row a choice, as rows with a history."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.data.catalogue import name_of
from mmjax.data.cells import shown
from mmjax.data.config import SourceSpec, sources
from mmjax.data.histories import Histories
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Interactions:
    """The rows of `source`, user by user and the earliest first, for a recommender.

    To the columns that are there come `history`, the items that the user chose before, and `split`:
    of each user of three choices or more the last is a test row, the one before it a validation
    row, and the others train. `time` is a column of numbers, or of text that sorts as it goes
    (2026-01-31); rows of equal time, and all rows without it, stay in their order.

    Raises DataError for rows without a user, an item or a time, and where no user is left to test.
    """

    source: SourceSpec
    user: str
    item: str
    time: str | None = None

    def read(self) -> Table:
        """All rows. Files are read at once."""
        table = sources.build(self.source).read()
        table.require_good()
        users, items = (
            [self._named(table, column, row) for row in range(len(table))]
            for column in (self.user, self.item)
        )
        times = self._times(table)
        rows: dict[str, list[int]] = {}
        for row in sorted(range(len(table)), key=lambda row: times[row]):
            rows.setdefault(users[row], []).append(row)
        order: list[int] = []
        histories, splits = Histories(), []
        for mine in rows.values():
            whole = histories.add([items[row] for row in mine])
            held = 1 if len(mine) > 2 else 0
            trained = len(mine) - 2 * held
            splits += ["train"] * trained + ["validation", "test"][: 2 * held]
            for place, row in enumerate(mine):
                histories.row(whole, place)
                order.append(row)
        if "test" not in splits:
            raise DataError(
                222,
                f"no '{self.user}' has three rows, of which the last could be a test",
                where=table.name,
                fix="give more rows, or name another column of users",
            )
        columns: dict[str, Sequence[Any]] = {
            name: [cells[row] for row in order] for name, cells in table.columns.items()
        }
        digest = hashlib.sha256(f"{self.user} {self.item} {self.time} {table.fingerprint}".encode())
        return dataclasses.replace(
            table,
            columns={**columns, "history": histories, "split": splits},
            lines=None if table.lines is None else [table.lines[row] for row in order],
            places=None if table.places is None else [table.places[row] for row in order],
            fingerprint=digest.hexdigest(),
        )

    def _named(self, table: Table, column: str, row: int) -> str:
        name = name_of(table.column(column)[row])
        if name is None:
            raise DataError(
                530, "the cell is empty", where=table.where(row, column), fix="leave the row out"
            )
        return name

    def _times(self, table: Table) -> list[Any]:
        """Something of each row that sorts by time."""
        if self.time is None:
            return [0] * len(table)
        cells = table.column(self.time)
        numbers = [parse_number(cell) for cell in cells]
        known = [number for number in numbers if number is not None]
        if len(known) == len(cells) and np.isfinite(known).all():
            return known
        for row, cell in enumerate(cells):
            if not isinstance(cell, str) or not cell.strip():
                raise DataError(
                    531,
                    f"'{shown(cell)}' is no time beside others that are text",
                    where=table.where(row, self.time),
                    fix="give numbers, or text that sorts as time goes",
                )
        return [str(cell).strip() for cell in cells]
