"""Rows from a CSV file, read strictly."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.cells import clean_text
from mmjax.data.sources.files import existing, fingerprint, guess_encoding, root_of, text_lines
from mmjax.data.table import BadRow, Table

MAX_FIELD = 131072
"""Characters of the longest field, unless another limit is set."""

_limit_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Csv:
    """A CSV file with a header; every cell is text, an empty one None.

    Media paths are relative to `root`, or to the file's folder. Raises DataError for a missing or
    rowless file, a row of too many or too few fields, a header that names a column twice, bad
    quoting, text that is not in `encoding`, and a field longer than `max_field` characters. A row
    with a NUL is bad. Blank lines are skipped.
    """

    path: str
    root: str | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    max_field: int = MAX_FIELD

    def read(self) -> Table:
        """The whole file as a table."""
        return self._read(ragged="raise")

    def survey(self) -> Table:
        """As `read`, with a row of too many or too few fields among the bad ones."""
        return self._read(ragged="bad")

    def _read(self, ragged: Literal["raise", "bad"]) -> Table:
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ConfigError(
                106, f"delimiter = {self.delimiter!r}", fix="expected one character such as ',' ';'"
            )
        path = existing(self.path)
        with field_limit(self.max_field):
            return self._table(path, ragged)

    def _table(self, path: Path, ragged: Literal["raise", "bad"]) -> Table:
        name = str(path)
        rows = self._rows(path)
        header = header_of(next(rows, (1, []))[1], path)
        cells: list[list[str | None]] = [[] for _ in header]
        lines: list[int] = []
        bad: list[BadRow] = []
        for line, row in rows:
            if len(row) != len(header):
                wrong = ragged_row(name, line, len(row), len(header))
                if ragged == "raise":
                    raise wrong.error()
                bad.append(wrong)
                continue
            nul = next((i for i, cell in enumerate(row) if "\0" in cell), None)
            if nul is not None:
                bad.append(BadRow(name, line, header[nul], 207, "NUL in a field", "remove it"))
                continue
            lines.append(line)
            for column, cell in zip(cells, row, strict=True):
                column.append(clean_text(cell) if cell else None)
        if not lines:
            if bad:
                raise bad[0].error(len(bad) - 1)
            raise DataError(201, "manifest has 0 rows", where=name, fix="write rows below a header")
        return Table(
            columns=dict(zip(header, cells, strict=True)),
            name=name,
            fingerprint=fingerprint(path),
            root=root_of(path, self.root),
            lines=lines,
            bad=tuple(bad),
        )

    def _rows(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Each row with the line that it starts on."""
        reader = csv.reader(text_lines(path, self.encoding), delimiter=self.delimiter, strict=True)
        line = 1
        try:
            for row in reader:
                if row:
                    yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            if "field limit" in str(error):
                raise DataError(
                    208,
                    f"a field is longer than {self.max_field} characters",
                    where=f"{path}:{line}",
                    fix="close its quotes, or raise max_field",
                ) from error
            raise DataError(
                202, f"bad CSV: {error}", where=f"{path}:{line}", fix="see the quotes"
            ) from error


@contextlib.contextmanager
def field_limit(characters: int = MAX_FIELD) -> Iterator[None]:
    """The limit is global to the csv module, so one file is read at a time."""
    with _limit_lock:
        before = csv.field_size_limit(characters)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def ragged_row(name: str, line: int, fields: int, expected: int) -> BadRow:
    """The row on a line that has other fields than the header."""
    many = fields > expected
    fix = "quote fields that hold the delimiter" if many else "write every field"
    what = f"a row has {fields} fields, expected {expected}"
    return BadRow(name, line, None, 202 if many else 203, what, fix)


def header_of(row: list[str], path: Path) -> list[str]:
    """The names of a first row. Raises DataError for a NUL, and a name that occurs twice."""
    header = [clean_text(cell) or f"column_{i}" for i, cell in enumerate(row, 1)]
    if any("\0" in cell for cell in header):
        raise DataError(
            206,
            "NUL in the header",
            where=f"{path}:1",
            fix=f"the file looks like {guess_encoding(path)}; set encoding=...",
        )
    for i, cell in enumerate(header):
        if cell in header[:i]:
            raise DataError(
                204,
                f"the header names column '{cell}' twice",
                where=f"{path}:1",
                fix=f"rename field {header.index(cell) + 1} or field {i + 1}",
            )
    return header
