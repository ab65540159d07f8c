"""A set of names."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Bool, Int
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role


@dataclasses.dataclass(frozen=True)
class Labels:
    """Which labels a row has: a cell is a list of names, or text with a `separator` between them.

    Labels are `names`, or those of the training rows from the commonest to the rarest (names of one
    count in alphabetical order); names are compared as `Category` does. Those that fewer than
    `min_count` training rows have are left out. A name that is neither is refused, or left out too
    with `others="ignore"`. An empty list is a row without labels. An empty cell is a missing one,
    and refused, unless `missing="none"` says that it means no labels.
    """

    column: str
    separator: str | None = None
    names: tuple[str, ...] | None = None
    min_count: int = 1
    others: Literal["refuse", "ignore"] = "refuse"
    missing: Literal["refuse", "none"] = "refuse"

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if self.separator == "":
            raise ConfigError(106, "separator = ''", where=f"targets of '{self.column}'", fix="','")

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a missing set of labels, and for what is none."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> tuple[str, ...]:
        """The names in a cell, each once."""
        where = place.where(self.column)
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            if self.missing == "none":
                return ()
            raise DataError(
                530,
                "the row has no labels",
                where=where,
                fix="label the row, leave it out, or set missing=none if it has none",
            )
        if isinstance(cell, str):
            if self.separator is None:
                raise DataError(
                    531,
                    f"'{shown(cell)}' is text, and no separator is set",
                    where=where,
                    fix="set separator, such as ',', or give lists",
                )
            cell = cell.split(self.separator)
        if not isinstance(cell, (list, tuple, np.ndarray)):
            raise DataError(
                531,
                f"'{shown(cell)}' is no list of labels",
                where=where,
                fix="give a list, or text with a separator",
            )
        return tuple(dict.fromkeys(_names(cell, where)))

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> LabelsProcessor:
        """The names, and how many training rows have each."""
        cells = table.column(self.column)
        counts = Counter(
            name for row in rows.tolist() for name in self.of(cells[row], Place(table, row))
        )
        left_out: list[str] = []
        if self.names is None:
            order = sorted(counts, key=lambda name: (-counts[name], name))
            names = [name for name in order if counts[name] >= self.min_count]
            left_out = [name for name in order if counts[name] < self.min_count]
        else:
            names = list(self.names)
        if not names:
            rows_each = f" that {self.min_count} rows have" if left_out else ""
            raise DataError(
                532,
                f"'{self.column}' has no label{rows_each} in the training rows",
                where=table.name,
                fix="give labels, or lower min_count" if left_out else "give labels",
            )
        return LabelsProcessor(self, names, [counts[n] for n in names], len(rows), left_out)

    def load(self, folder: Path) -> LabelsProcessor:
        """What `LabelsProcessor.save` wrote."""
        stored = read_json(folder / "labels.json")
        return LabelsProcessor(
            self, stored["names"], stored["counts"], stored["rows"], stored["left_out"]
        )


class LabelsProcessor:
    """Facts: `num_labels`, `label_names`, `label_counts` (training rows that have each), and
    `label_rows`, the number of training rows.
    """

    def __init__(
        self,
        settings: Labels,
        names: Sequence[str],
        counts: Sequence[int],
        rows: int,
        left_out: Iterable[str],
    ):
        self._settings = settings
        self._ids = {name: i for i, name in enumerate(names)}
        self._left_out = tuple(left_out)
        self._ignored = frozenset(self._left_out)
        self.facts: dict[str, Any] = {
            "num_labels": len(names),
            "label_names": tuple(names),
            "label_counts": tuple(counts),
            "label_rows": rows,
        }

    def save(self, folder: Path) -> None:
        """`labels.json`: names in the order of their ids, counts, and the names left out."""
        values = {
            "names": list(self.facts["label_names"]),
            "counts": list(self.facts["label_counts"]),
            "rows": self.facts["label_rows"],
            "left_out": list(self._left_out),
        }
        write_json(folder / "labels.json", values)

    def encode(self, cell: Any, place: Place) -> tuple[int, ...]:
        """The ids of the row's labels, ascending. Raises DataError for an unknown name."""
        found = []
        for name in self._settings.of(cell, place):
            if name in self._ids:
                found.append(self._ids[name])
            elif name not in self._ignored and self._settings.others == "refuse":
                raise DataError(
                    531,
                    f"unknown label '{shown(name)}'",
                    where=place.where(self._settings.column),
                    fix=f"{nearest(name, self._ids)}; or set others=ignore",
                )
        return tuple(sorted(found))

    def collate(self, values: Sequence[tuple[int, ...] | None]) -> Bool[np.ndarray, "b v"]:
        """Which labels each row has."""
        batch = np.zeros((len(values), len(self._ids)), bool)
        for row, ids in enumerate(values):
            if ids:
                batch[row, list(ids)] = True
        return batch


def _names(cells: Iterable[Any], where: str) -> Iterable[str]:
    for cell in cells:
        if isinstance(cell, (list, tuple, dict, np.ndarray)):
            raise DataError(531, f"'{shown(cell)}' is no label", where=where, fix="give names")
        name = clean_text(key_of(cell) or "").strip()
        if name:
            yield name
