"""Rows of raw cells: what every source returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.core.errors import DataError, nearest


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length with random access; cells are decoded by nobody yet.

    A cell is None (missing), a str, a number, or for media a path, bytes, a NumPy array or a
    PIL image. `name` stands for the table in errors. `root` is the folder that media paths are
    relative to and may not leave; None if the table has none. `lines` gives each row's line in its
    file, for errors. `fingerprint` changes when the content does.
    """

    columns: Mapping[str, Sequence[Any]]
    name: str
    fingerprint: str
    root: Path | None = None
    lines: Sequence[int] | None = None

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

    def where(self, index: int, column: str | None = None) -> str:
        """`file:line:column`, the place of a row or cell, for errors."""
        line = self.lines[index] if self.lines is not None else index
        return ":".join([self.name, str(line)] + ([column] if column else []))
