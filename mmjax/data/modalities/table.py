"""Columns of numbers and categories."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table

logger = logging.getLogger(__name__)

_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST_DEVIATION = 1e-6


@dataclasses.dataclass(frozen=True)
class TableRow:
    """Numbers, standardised by the training rows, and categories.

    Fields: `numbers` float32 [b c] and `number_mask` bool [b c], 0 and False where missing;
    `categories` int32 [b c], 0 where missing or not seen in training. A cell of `missing` is
    missing, any other that is no decimal number is damaged. A row whose columns are all missing has
    no such modality.
    """

    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    missing: tuple[str, ...] = ("", "NA", "N/A", "na", "n/a", "nan", "NaN", "null", "None", "-")

    meaning: ClassVar[tuple[str, ...]] = ("numbers", "categories")

    def __post_init__(self) -> None:
        if not self.reads():
            raise ConfigError(
                103, "a table modality needs columns", fix="give numbers or categories"
            )

    def reads(self) -> tuple[str, ...]:
        """Numbers, then categories."""
        return (*self.numbers, *self.categories)

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        """Whether any column has a value."""
        known = [self.number(cells[name], name, place) is not None for name in self.numbers]
        return any(known) or any(self.category(cells[name]) is not None for name in self.categories)

    def number(self, cell: Any, column: str, place: Place) -> float | None:
        """The number of a cell, None if it is missing.

        Raises DataError for what is no number, and for what float32 cannot hold.
        """
        if cell is None or (isinstance(cell, str) and cell.strip() in self.missing):
            return None
        value = parse_number(cell)
        if value is None or abs(value) > _LARGEST:
            raise DataError(
                521 if value is None else 522,
                f"'{shown(cell)}' is no number"
                if value is None
                else f"{shown(cell)} is too large for float32",
                where=place.where(column),
                fix="write a decimal number, or name the token in `missing`",
            )
        return value

    def category(self, cell: Any) -> str | None:
        """The category of a cell as text, None if it is missing."""
        key = key_of(cell)
        key = None if key is None else clean_text(key).strip()
        return None if key is None or key in self.missing else key

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> TableProcessor:
        """Means, standard deviations and category names of the training rows."""
        means, deviations = [], []
        for name in self.numbers:
            cells = table.column(name)
            found = (self.number(cells[row], name, Place(table, row)) for row in rows.tolist())
            values = np.array([value for value in found if value is not None], np.float64)
            mean = float(values.mean()) if len(values) else 0.0
            deviation = float(values.std()) if len(values) else 0.0
            if deviation <= _SMALLEST_DEVIATION * max(1.0, abs(mean)):
                logger.warning("the column '%s' is constant in the training rows", name)
                deviation = 1.0
            means.append(mean)
            deviations.append(deviation)
        names = []
        for name in self.categories:
            cells = table.column(name)
            known = {self.category(cells[row]) for row in rows.tolist()} - {None}
            names.append(sorted(map(str, known)))
        return TableProcessor(self, means, deviations, names)

    def load(self, folder: Path) -> TableProcessor:
        """What `TableProcessor.save` wrote; columns are matched by name."""
        stored = read_json(folder / "table.json")
        numbers = [stored["numbers"][name] for name in self.numbers]
        return TableProcessor(
            self,
            [number["mean"] for number in numbers],
            [number["deviation"] for number in numbers],
            [stored["categories"][name] for name in self.categories],
        )


class TableProcessor:
    """Facts: `numbers`, their count; `cardinalities`, the ids of each category column."""

    random = False
    padded_lengths: tuple[int, ...] = ()

    def __init__(
        self,
        settings: TableRow,
        means: Sequence[float],
        deviations: Sequence[float],
        names: Sequence[Sequence[str]],
    ):
        self._settings = settings
        self._means = means
        self._deviations = deviations
        self._names = names
        self._ids: list[Mapping[str | None, int]] = [
            {name: i + 1 for i, name in enumerate(known)} for known in names
        ]
        self.facts: dict[str, Any] = {
            "numbers": len(means),
            "cardinalities": tuple(len(known) + 1 for known in names),
        }

    @property
    def categories(self) -> dict[str, Sequence[str]]:
        """The names that each category column has."""
        return dict(zip(self._settings.categories, self._names, strict=True))

    def save(self, folder: Path) -> None:
        """`table.json`: mean and deviation a number column, the names a category column."""
        numbers = zip(self._settings.numbers, self._means, self._deviations, strict=True)
        write_json(
            folder / "table.json",
            {
                "numbers": {name: {"mean": mean, "deviation": std} for name, mean, std in numbers},
                "categories": self.categories,
            },
        )

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None = None
    ) -> Example | None:
        """The three fields of one row."""
        settings = self._settings
        values = [settings.number(cells[name], name, place) for name in settings.numbers]
        found = [settings.category(cells[name]) for name in settings.categories]
        if all(value is None for value in (*values, *found)):
            return None
        mask = np.array([value is not None for value in values], bool)
        scaled = [
            0.0 if value is None else (value - mean) / deviation
            for value, mean, deviation in zip(values, self._means, self._deviations, strict=True)
        ]
        # A value far outside the training range may overflow once it is divided.
        numbers = np.clip(scaled, -_LARGEST, _LARGEST).astype(np.float32)
        ids = [known.get(name, 0) for known, name in zip(self._ids, found, strict=True)]
        return self._fields(numbers, mask, np.array(ids, np.int32))

    def _fields(self, numbers: np.ndarray, mask: np.ndarray, categories: np.ndarray) -> Example:
        fields: Example = {}
        if self._settings.numbers:
            fields |= {"numbers": numbers, "number_mask": mask}
        if self._settings.categories:
            fields["categories"] = categories
        return fields

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """One token a column."""
        return np.full(len(rows), len(self._settings.reads()))

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Stacks the rows."""
        numbers, categories = len(self._means), len(self._names)
        absent = self._fields(
            np.zeros(numbers, np.float32), np.zeros(numbers, bool), np.zeros(categories, np.int32)
        )
        filled = [absent if example is None else example for example in examples]
        return {field: np.stack([example[field] for example in filled]) for field in absent}
