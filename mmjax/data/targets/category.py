"""One of a set of names."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role


@dataclasses.dataclass(frozen=True)
class Category:
    """The class of a row: its name's position in `names`, or in the sorted training labels.

    Labels are compared as text in Unicode's composed form, so `1`, `1.0` and "1" are one label;
    whole numbers sort as numbers.
    """

    column: str
    names: tuple[str, ...] | None = None

    role: ClassVar[Role] = "class"

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a missing label."""
        if _label(cell) is None:
            raise DataError(
                530,
                "the row has no label",
                where=place.where(self.column),
                fix="label the row, leave it out, or set data.on_bad_sample=quarantine",
            )

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> CategoryProcessor:
        """The label names and their counts in the training rows."""
        cells = table.column(self.column)
        counts = Counter(
            label for row in rows.tolist() if (label := _label(cells[row])) is not None
        )
        names = sorted(counts, key=_order) if self.names is None else list(self.names)
        if len(names) < 2:
            raise DataError(
                532,
                f"'{self.column}' has {len(names)} labels in the training rows",
                where=table.name,
                fix="give at least two classes",
            )
        return CategoryProcessor(self.column, names, [counts[name] for name in names])

    def load(self, folder: Path) -> CategoryProcessor:
        """What `CategoryProcessor.save` wrote."""
        stored = read_json(folder / "labels.json")
        return CategoryProcessor(self.column, stored["names"], stored["counts"])


class CategoryProcessor:
    """Facts: `num_labels`, `label_names`, `label_counts` (in the training rows)."""

    def __init__(self, column: str, names: Sequence[str], counts: Sequence[int]):
        self._column = column
        self._ids = {name: i for i, name in enumerate(names)}
        self.facts: dict[str, Any] = {
            "num_labels": len(names),
            "label_names": tuple(names),
            "label_counts": tuple(counts),
        }

    def save(self, folder: Path) -> None:
        """`labels.json`: the names in the order of their ids, and their training counts."""
        names, counts = self.facts["label_names"], self.facts["label_counts"]
        write_json(folder / "labels.json", {"names": list(names), "counts": list(counts)})

    def encode(self, cell: Any, place: Place) -> int:
        """The label's id. Raises DataError, naming the valid labels, for any other."""
        label = _label(cell)
        if label not in self._ids:
            raise DataError(
                531 if label is not None else 530,
                "the row has no label" if label is None else f"unknown label '{shown(cell)}'",
                where=place.where(self._column),
                fix=nearest(str(label), self._ids),
            )
        return self._ids[label]

    def collate(self, values: Sequence[int | None]) -> Int[np.ndarray, "b"]:
        """int32 ids."""
        return np.array([0 if value is None else value for value in values], np.int32)


def _label(cell: Any) -> str | None:
    if isinstance(cell, float) and cell != cell:
        return None
    key = key_of(cell)
    return None if key is None else clean_text(key).strip() or None


def _order(label: str) -> tuple[bool, int, str]:
    whole = label.isascii() and label.removeprefix("-").isdigit()
    return (not whole, int(label) if whole else 0, label)
