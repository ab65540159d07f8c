"""The items that a recommender chooses from: one row each, by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.registry import Spec
from mmjax.core.typing import Int
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.config import sources
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table


class Catalogue:
    """The rows of a source by the key in a column, in their order; of equal keys the first counts.

    So a table of interactions serves as a catalogue of nothing but keys. Raises DataError for a
    source without any key.
    """

    def __init__(self, source: Spec, key: str):
        self.table: Table = sources.build(source).read()
        self.table.require_good()
        places: dict[str, int] = {}
        for row, cell in enumerate(self.table.column(key)):
            name = name_of(cell)
            if name is not None:
                places.setdefault(name, row)
        if not places:
            raise DataError(
                232, f"no item has a key in '{key}'", where=self.table.name, fix="name its column"
            )
        self.names: tuple[str, ...] = tuple(places)
        self.rows: Int[np.ndarray, "items"] = np.fromiter(places.values(), np.int64)


def name_of(cell: Any) -> str | None:
    """The key of an item as text, None if there is none."""
    key = key_of(cell)
    key = None if key is None else clean_text(key).strip()
    return key or None


def items_of(cell: Any, separator: str | None, place: Place, column: str) -> list[str]:
    """The keys in a cell: of a list each, of text those between separators, of others itself.

    Raises DataError for what is neither.
    """
    if cell is None:
        return []
    if isinstance(cell, list) and all(type(one) is str for one in cell):
        return [name for one in cell if (name := one.strip())]
    if isinstance(cell, str):
        cell = cell.split(separator) if separator else [cell]
    elif isinstance(cell, (int, float)):
        cell = [cell]
    elif isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if not isinstance(cell, (list, tuple)) or any(isinstance(c, (list, dict)) for c in cell):
        raise DataError(
            531,
            f"'{shown(cell)}' is no list of items",
            where=place.where(column),
            fix="give a list of keys, or text with a separator",
        )
    return [name for name in map(name_of, cell) if name is not None]


def numbers(names: Iterable[str], places: dict[str, int]) -> list[int]:
    """The places in the catalogue of those names that it has."""
    return [places[name] for name in names if name in places]


def positions(names: Sequence[str]) -> dict[str, int]:
    """Each name's place."""
    return {name: place for place, name in enumerate(names)}
