"""Rows from a DataFrame that is in memory already."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.registry import fact
from mmjax.data.cells import clean_cell, clean_text
from mmjax.data.sources.files import folder
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Frame:
    """A pandas or polars DataFrame, or a mapping of names to columns.

    Media are bytes, arrays, pictures, or paths below `root`; NaN, NaT and NA are missing. Raises
    DataError for a frame without rows, a column name that occurs twice, and columns of unequal
    length.
    """

    root: str | None = None
    frame: Any = fact()

    def read(self) -> Table:
        """The frame as a table, its index left out."""
        given = list(self.frame) if isinstance(self.frame, Mapping) else list(self.frame.columns)
        columns: dict[str, list[Any]] = {}
        for name in given:
            text = clean_text(str(name))
            if text in columns or given.count(name) > 1:
                raise DataError(
                    204, f"the frame has column '{text}' twice", where="frame", fix="rename one"
                )
            columns[text] = [clean_cell(cell) for cell in _cells(self.frame[name])]
        lengths = {name: len(cells) for name, cells in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                205, f"columns of unequal length: {lengths}", where="frame", fix="make them equal"
            )
        if not lengths or not next(iter(lengths.values())):
            raise DataError(201, "the frame has 0 rows", where="frame", fix="give rows")
        return Table(
            columns=columns,
            name="frame",
            fingerprint=_fingerprint(columns),
            root=None if self.root is None else folder(self.root),
        )


def _cells(column: Any) -> Sequence[Any]:
    if isinstance(column, np.ndarray):
        return list(column)
    for name in ("tolist", "to_list", "to_pylist"):
        if hasattr(column, name):
            return getattr(column, name)()
    return list(column)


def _fingerprint(columns: Mapping[str, Sequence[Any]]) -> str:
    digest = hashlib.sha256()
    for name, cells in columns.items():
        digest.update(repr((name, len(cells))).encode("utf-8", "surrogatepass"))
        for cell in cells:
            _digest(digest, cell)
    return digest.hexdigest()


def _digest(digest: Any, cell: Any) -> None:
    """Adds a cell, with its type and length, so that no two different columns look alike."""
    kind: tuple = (type(cell).__name__, cell)
    content: Any = b""
    if isinstance(cell, bytes):
        kind, content = ("bytes", len(cell)), cell
    elif isinstance(cell, np.ndarray) and cell.dtype != object:
        kind, content = ("array", str(cell.dtype), cell.shape), np.ascontiguousarray(cell)
    elif hasattr(cell, "tobytes") and hasattr(cell, "mode"):
        kind, content = ("picture", cell.mode, cell.size), cell.tobytes()
    digest.update(repr(kind).encode("utf-8", "surrogatepass"))
    digest.update(content)
