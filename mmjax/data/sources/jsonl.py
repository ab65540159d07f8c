"""Rows from a JSON Lines file, read strictly."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

from mmjax.core.errors import DataError
from mmjax.data.cells import clean_cell, shown
from mmjax.data.sources.files import byte_lines, existing, fingerprint, root_of
from mmjax.data.table import BadRow, Table


@dataclasses.dataclass(frozen=True)
class JsonLines:
    """A file with one JSON object a line, in UTF-8; a key that a row lacks is None there.

    Media paths are relative to `root`, or to the file's folder. A line that is no JSON object, a
    last line that was cut off, and NaN or an infinity in a field are bad rows. Raises DataError for
    a missing or rowless file, a key that an object has twice, and text that is not UTF-8.
    """

    path: str
    root: str | None = None

    def read(self) -> Table:
        """The whole file as a table."""
        return self._read(strict=True)

    def survey(self) -> Table:
        """As `read`, with twice-named keys and text that is not UTF-8 among the bad rows."""
        return self._read(strict=False)

    def _read(self, *, strict: bool) -> Table:
        path = existing(self.path)
        digest, root = fingerprint(path), root_of(path, self.root)
        with open(path, "rb") as file:
            return read_lines(file, str(path), fingerprint=digest, root=root, strict=strict)


def read_lines(
    file: io.BufferedIOBase,
    name: str,
    *,
    fingerprint: str,
    root: Path | None = None,
    strict: bool = True,
    first: int = 1,
) -> Table:
    """The table of an open JSON Lines file; `strict` raises where a line makes others doubtful.

    `first` is the number of its first line.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    bad: list[BadRow] = []
    offset = 0
    for line, raw in enumerate(byte_lines(file), first):
        if raw.strip():
            parsed = _parsed(raw, name, line, offset, strict)
            if isinstance(parsed, BadRow):
                bad.append(parsed)
            else:
                rows.append(parsed)
                lines.append(line)
        offset += len(raw)
    if not rows:
        if bad:
            raise bad[0].error(len(bad) - 1)
        raise DataError(201, "manifest has 0 rows", where=name, fix="write one object a line")
    columns = dict.fromkeys(key for row in rows for key in row)
    return Table(
        columns={key: [row.get(key) for row in rows] for key in columns},
        name=name,
        fingerprint=fingerprint,
        root=root,
        lines=lines,
        bad=tuple(bad),
    )


def _parsed(raw: bytes, name: str, line: int, offset: int, strict: bool) -> dict[str, Any] | BadRow:
    try:
        return _parse(raw, name, line, offset)
    except DataError as error:
        if strict:
            raise
        return BadRow(name, line, None, error.code, error.what, error.fix)


def _parse(raw: bytes, name: str, line: int, offset: int) -> dict[str, Any] | BadRow:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            206,
            f"the bytes from offset {offset + error.start} on are not utf-8",
            where=f"{name}:{line}",
            fix="JSON Lines are UTF-8: convert the file",
        ) from error
    try:
        row = json.loads(text, object_pairs_hook=_unique)
    except _TwiceError as error:
        raise DataError(
            211, f"key '{error}' occurs twice in one object", where=f"{name}:{line}", fix="keep one"
        ) from error
    except (ValueError, RecursionError) as error:
        if not raw.endswith(b"\n"):
            message = "the last line is cut off: no newline at end"
            return BadRow(name, line, None, 210, message, "write the file again")
        return BadRow(name, line, None, 209, f"malformed JSON: {error}", "see the line")
    if not isinstance(row, dict):
        return BadRow(name, line, None, 209, f"{shown(row)} is no object", "write {...} a line")
    for key, cell in row.items():
        if not _finite(cell):
            return BadRow(name, line, key, 212, "NaN or an infinity is no JSON", "write null")
    return clean_cell(row)


class _TwiceError(Exception):
    """A key occurs twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for i, key in enumerate(keys) if key in keys[:i]))
    return row


def _finite(cell: Any) -> bool:
    if isinstance(cell, float):
        return math.isfinite(cell)
    if isinstance(cell, dict):
        return all(map(_finite, cell.values()))
    if isinstance(cell, list):
        return all(map(_finite, cell))
    return True
