"""Rows that are left out, and why."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmjax.core.errors import DataError
from mmjax.core.files import atomic
from mmjax.data.config import DataConfig
from mmjax.data.modalities.base import Modality, Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Target, cell_of, columns_of

logger = logging.getLogger(__name__)

_AT_ONCE = 1024
_TOLD = (1, 10, 100, 1000)
"""Which bad rows, by their count, are logged when they are found one by one."""


@dataclasses.dataclass(frozen=True)
class Quarantined:
    """One row that is in no batch. `row` is None where it could not even be read from its file."""

    row: int | None
    id: Any
    where: str
    column: str | None
    code: int
    message: str


class Quarantine:
    """Collects bad rows, or raises the first, as the config's policy says."""

    def __init__(self, table: Table, config: DataConfig):
        self._table = table
        self._config = config
        self._ids = None if config.id_column is None else table.column(config.id_column)
        self._seen = 0
        self._late: set[int] = set()
        self.found = [
            Quarantined(None, None, f"{bad.name}:{bad.line}", bad.column, bad.code, bad.message)
            for bad in table.bad
        ]

    @property
    def rows(self) -> set[int]:
        """Rows of the table that are left out."""
        return {bad.row for bad in self.found if bad.row is not None}

    def check(self, rows: Sequence[int], check: Callable[[int], None], *, threads: int = 0) -> None:
        """Calls `check` for each row; those for which it raises DataError are left out."""
        if not threads:
            return self._collect(zip(rows, map(_outcome(check), rows), strict=True))
        with ThreadPoolExecutor(threads) as pool:
            # A pool takes all it is given at once, so it is given little at a time.
            for start in range(0, len(rows), _AT_ONCE):
                part = rows[start : start + _AT_ONCE]
                self._collect(zip(part, pool.map(_outcome(check), part), strict=True))

    def _collect(self, outcomes: Iterable[tuple[int, DataError | None]]) -> None:
        for row, error in outcomes:
            if error is None:
                continue
            if self._config.on_bad_sample == "raise":
                raise error
            self._add(row, error)
            self._limit(error, len(self._table) + len(self._table.bad))

    def _add(self, row: int, error: DataError) -> None:
        column = error.where.rpartition(":")[2]
        self.found.append(
            Quarantined(
                row,
                self._id(row),
                self._table.where(row),
                column if column in self._table.columns else None,
                error.code,
                error.what,
            )
        )

    def _id(self, row: int) -> Any:
        try:
            return row if self._ids is None else self._ids[row]
        except DataError:  # the id of a row that is read late may be what is damaged
            return row

    def take(self, rows: int) -> None:
        """Counts the examples that batches of a lazy table have taken."""
        self._seen += rows

    def late(self, row: int, error: DataError) -> None:
        """A row of a lazy table that proved bad when a batch took it: kept the first time.

        Raises the error under policy `raise`, and DataError 219 if, of the examples taken so far,
        more are bad than the config allows.
        """
        if self._config.on_bad_sample == "raise":
            raise error
        if row in self._late:
            return
        self._late.add(row)
        self._add(row, error)
        if len(self._late) in _TOLD or len(self._late) % _TOLD[-1] == 0:
            logger.warning("left out of its batch, as bad row %d: %s", len(self._late), error)
        self._limit(error, self._seen)

    def _limit(self, error: DataError, rows: int) -> None:
        """Raises DataError once more rows are bad than the config allows."""
        bad = len(self.found)
        if not self._config.allows_bad(bad, rows):
            raise DataError(
                219,
                f"{bad} of {rows} rows are bad, the last: {error.what}",
                where=error.where,
                fix="mend the data, or raise max_bad_fraction or max_bad",
            )

    def report(self) -> None:
        """One log line if rows were left out."""
        if self.found:
            first = self.found[0]
            logger.warning(
                "left out %d bad rows, the first: %s (%s)",
                len(self.found),
                first.message,
                first.where,
            )

    def save(self, path: Path) -> None:
        """One JSON object a line."""
        with atomic(path) as file:
            for bad in self.found:
                file.write(
                    json.dumps(dataclasses.asdict(bad), ensure_ascii=False, default=str) + "\n"
                )


def load(path: Path) -> list[Quarantined]:
    """What `Quarantine.save` wrote."""
    return [Quarantined(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def check_row(
    table: Table, modalities: Mapping[str, Modality], targets: Mapping[str, Target], *, decode: bool
) -> Callable[[int], None]:
    """A function that raises DataError for a row with a damaged cell, no label, or no modality."""
    inputs = {name: (one, one.reads()) for name, one in modalities.items()}
    for _, columns in inputs.values():
        for column in columns:
            table.column(column)

    def check(row: int) -> None:
        place = Place(table, row)
        for target in targets.values():
            target.check(cell_of(table, columns_of(target), row), place)
        present = [
            one.check(
                {column: table.columns[column][row] for column in columns}, place, decode=decode
            )
            for one, columns in inputs.values()
        ]
        if not any(present):
            raise without_modality(place, modalities)

    return check


def without_modality(place: Place, modalities: Iterable[str]) -> DataError:
    """The error of a row of which all modalities are missing."""
    return DataError(
        218,
        f"the row has none of {', '.join(modalities)}",
        where=place.where(),
        fix="fill a column, leave the row out, or set data.on_bad_sample=quarantine",
    )


def _outcome(check: Callable[[int], None]) -> Callable[[int], DataError | None]:
    def outcome(row: int) -> DataError | None:
        try:
            check(row)
        except DataError as error:
            return error
        return None

    return outcome
