"""A vector of numbers: what a teacher made of the row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role


@dataclasses.dataclass(frozen=True)
class Vector:
    """The numbers of a cell, a list or an array of as many as the training rows have.

    A row without any has zeros.
    """

    column: str

    role: ClassVar[Role] = "value"

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for what is no list of finite numbers."""
        _numbers(cell, place, self.column)

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> VectorProcessor:
        """The number of numbers. Raises DataError if no training row has any."""
        cells = table.column(self.column)
        for row in rows.tolist():
            found = _numbers(cells[row], Place(table, row), self.column)
            if found is not None:
                return VectorProcessor(self.column, len(found))
        raise DataError(
            530,
            f"no training row has numbers in '{self.column}'",
            where=table.name,
            fix="choose another column",
        )

    def load(self, folder: Path) -> VectorProcessor:
        """What `VectorProcessor.save` wrote."""
        return VectorProcessor(self.column, int(read_json(folder / "vector.json")["width"]))


class VectorProcessor:
    """Facts: `width`."""

    def __init__(self, column: str, width: int):
        self._column = column
        self._width = width
        self.facts: dict[str, Any] = {"width": width}

    def save(self, folder: Path) -> None:
        """`vector.json`: how many numbers."""
        write_json(folder / "vector.json", self.facts)

    def encode(self, cell: Any, place: Place) -> Float[np.ndarray, "d"]:
        """float32. Raises DataError for another number of numbers."""
        found = _numbers(cell, place, self._column)
        if found is None:
            return np.zeros(self._width, np.float32)
        if len(found) != self._width:
            raise DataError(
                531,
                f"{len(found)} numbers, where the training rows have {self._width}",
                where=place.where(self._column),
                fix="give every row a vector of one space",
            )
        return found

    def collate(self, values: Sequence[Float[np.ndarray, "d"] | None]) -> Float[np.ndarray, "b d"]:
        """float32, zeros for None."""
        batch = np.zeros((len(values), self._width), np.float32)
        for i, value in enumerate(values):
            if value is not None:
                batch[i] = value
        return batch


def _numbers(cell: Any, place: Place, column: str) -> Float[np.ndarray, "d"] | None:
    if cell is None:
        return None
    try:
        found = np.asarray(cell, np.float32)
    except (TypeError, ValueError):
        found = np.zeros(0, np.float32)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise DataError(
            531, "no vector of finite numbers", where=place.where(column), fix="give a list of them"
        )
    return found
