"""Which rows are of one thing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.files import write_json
from mmjax.core.typing import Int
from mmjax.data.cells import clean_text, key_of
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role


@dataclasses.dataclass(frozen=True)
class Same:
    """A number that rows have in common whose cells are equal: the captions of one picture.

    Splits that are made keep such rows together. The number is 32 bits of the cell's SHA-256, which
    needs no list of cells: of a million different ones, 116 pairs are expected to be taken for one.
    """

    column: str

    role: ClassVar[Role] = "thing"

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a cell of nothing."""
        _number(cell, place, self.column)

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> SameProcessor:
        """Learns nothing; the column must exist."""
        table.column(self.column)
        return SameProcessor(self.column)

    def load(self, folder: Path) -> SameProcessor:
        """What `SameProcessor.save` wrote."""
        return SameProcessor(self.column)


class SameProcessor:
    """Facts: none."""

    def __init__(self, column: str):
        self._column = column
        self.facts: dict[str, Any] = {}

    def save(self, folder: Path) -> None:
        """`same.json`: the column."""
        write_json(folder / "same.json", {"column": self._column})

    def encode(self, cell: Any, place: Place) -> int:
        """The number of the cell. Raises DataError if it is empty."""
        return _number(cell, place, self._column)

    def collate(self, values: Sequence[int | None]) -> Int[np.ndarray, "b"]:
        """int32."""
        return np.array([0 if value is None else value for value in values], np.int32)


def _number(cell: Any, place: Place, column: str) -> int:
    key = key_of(cell)
    text = None if key is None else clean_text(key).strip()
    if not text:
        raise DataError(
            530,
            "the row does not say what it is of",
            where=place.where(column),
            fix="fill the column, or leave the row out",
        )
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "little", signed=True)
