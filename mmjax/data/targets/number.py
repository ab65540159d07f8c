"""One number, or several."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data.cells import shown
from mmjax.data.modalities.base import Place
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table
from mmjax.data.targets.base import Role, cell_of, columns_of


@dataclasses.dataclass(frozen=True)
class Number:
    """The numbers of `column` and of the columns `also`, or of one column with lists of them.

    A batch holds them with the mean 0 and the standard deviation 1 that they have in the training
    rows, or as they are with `scale="none"`. A number that is missing is refused; with
    `missing="mask"` it is NaN there and counts nowhere, as long as its row has another.
    """

    column: str
    also: tuple[str, ...] = ()
    scale: Literal["standard", "none"] = "standard"
    missing: Literal["refuse", "mask"] = "refuse"

    role: ClassVar[Role] = "value"

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for what is no number, and for a row that lacks one it must have."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> list[float]:
        """The numbers of a row, NaN for one that may be missing."""
        several = isinstance(cell, (list, tuple, np.ndarray))
        columns = columns_of(self)
        found = []
        for i, one in enumerate(cell if several else [cell]):
            where = place.where(columns[i] if self.also and i < len(columns) else self.column)
            number = parse_number(one.item() if isinstance(one, np.generic) else one)
            blank = one is None or (isinstance(one, str) and not one.strip())
            blank = blank or (isinstance(one, float) and math.isnan(one))
            if number is None and not (blank and self.missing == "mask"):
                raise DataError(
                    530 if blank else 531,
                    "the row has no number" if blank else f"'{shown(one)}' is no number",
                    where=where,
                    fix="give one, leave the row out, or set data.on_bad_sample=quarantine",
                )
            found.append(math.nan if number is None else number)
        if all(map(math.isnan, found)):
            raise DataError(
                530, "the row has no number", where=place.where(self.column), fix="give one"
            )
        return found

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> NumberProcessor:
        """Means and standard deviations over the training rows, of the numbers that are there."""
        columns = columns_of(self)
        values = [self.of(cell_of(table, columns, row), Place(table, row)) for row in rows.tolist()]
        count = len(values[0])
        odd = next((i for i, one in enumerate(values) if len(one) != count), None)
        if odd is not None:
            raise _wrong_count(len(values[odd]), count, Place(table, int(rows[odd])), self.column)
        numbers = np.asarray(values, np.float64)
        known = np.isfinite(numbers)
        if not known.any(axis=0).all():
            which = int(np.argmin(known.any(axis=0)))
            raise DataError(
                532,
                f"'{self.names(count)[which]}' has no number in the training rows",
                where=table.name,
                fix="leave the column out",
            )
        means, deviations = np.zeros(count), np.ones(count)
        if self.scale == "standard":
            means, deviations = np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0)
            # Numbers that are all the same differ by rounding alone.
            same = deviations <= 1e-12 * np.maximum(np.abs(means), 1e-300)
            deviations = np.where(same, 1.0, deviations)
        return NumberProcessor(self, means.tolist(), deviations.tolist())

    def names(self, count: int) -> tuple[str, ...]:
        """What each number is called: by its column, in a list by its place too."""
        if count == len(columns_of(self)):
            return columns_of(self)
        return tuple(f"{self.column}_{i}" for i in range(count))

    def load(self, folder: Path) -> NumberProcessor:
        """What `NumberProcessor.save` wrote."""
        stored = read_json(folder / "numbers.json")
        return NumberProcessor(self, stored["means"], stored["deviations"])


class NumberProcessor:
    """Facts: `num_targets`, `target_names`, and the `target_means` and `target_deviations` that
    bring what a batch holds back to the data's units: mean + deviation x value.
    """

    def __init__(self, settings: Number, means: Sequence[float], deviations: Sequence[float]):
        self._settings = settings
        self._means, self._deviations = np.asarray(means), np.asarray(deviations)
        self.facts: dict[str, Any] = {
            "num_targets": len(means),
            "target_names": settings.names(len(means)),
            "target_means": tuple(means),
            "target_deviations": tuple(deviations),
        }

    def save(self, folder: Path) -> None:
        """`numbers.json`: names, means and standard deviations."""
        values = {
            "names": list(self.facts["target_names"]),
            "means": list(self.facts["target_means"]),
            "deviations": list(self.facts["target_deviations"]),
        }
        write_json(folder / "numbers.json", values)

    def encode(self, cell: Any, place: Place) -> Float[np.ndarray, "t"]:
        """float32, scaled. Raises DataError as `Number.check` does, and for another count."""
        found = self._settings.of(cell, place)
        if len(found) != len(self._means):
            raise _wrong_count(len(found), len(self._means), place, self._settings.column)
        # In float64 first: a small spread around a large mean is nothing in float32.
        return ((np.asarray(found) - self._means) / self._deviations).astype(np.float32)

    def collate(self, values: Sequence[Float[np.ndarray, "t"] | None]) -> Float[np.ndarray, "b t"]:
        """float32, zeros for None."""
        batch = np.zeros((len(values), len(self._means)), np.float32)
        for row, value in enumerate(values):
            if value is not None:
                batch[row] = value
        return batch


def _wrong_count(found: int, wanted: int, place: Place, column: str) -> DataError:
    return DataError(
        531,
        f"{found} numbers, where the training rows have {wanted}",
        where=place.where(column),
        fix="give every row as many",
    )
