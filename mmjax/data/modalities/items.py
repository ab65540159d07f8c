"""The items that someone has dealt with, in order: what was bought, watched, clicked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.catalogue import Catalogue, items_of, numbers, positions
from mmjax.data.config import SourceSpec
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Items:
    """A history: a cell lists keys of the catalogue `items`, the latest last.

    Fields: `item_ids` int32 [b max_length], the place in the catalogue + 1 of the last `max_length`
    items and 0 after them; `attention_mask` bool of the same shape; `seen` uint8
    [b ceil(items / 8)], one bit an item of the catalogue, of the whole history (`numpy.packbits`).
    Keys that the catalogue does not have are left out; a row without any other has no history.
    """

    column: str
    items: SourceSpec
    key: str
    """The catalogue's column of keys."""
    max_length: int = 50
    separator: str | None = None
    """What is between the keys of a cell that is text."""

    meaning: ClassVar[tuple[str, ...]] = ("key",)

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.separator == "":
            raise ConfigError(
                106,
                f"max_length = {self.max_length}, separator = {self.separator!r}",
                where=f"items modality of '{self.column}'",
                fix="1 or more, and a separator such as ','",
            )

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def of(self, cell: Any, place: Place) -> list[str]:
        """The keys in a cell."""
        return items_of(cell, self.separator, place, self.column)

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        """Whether the cell lists any item. Raises DataError for what is no list."""
        return bool(self.of(cells[self.column], place))

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> ItemsProcessor:
        """The keys of the catalogue; nothing is learnt from rows."""
        return ItemsProcessor(self, Catalogue(self.items, self.key).names)

    def load(self, folder: Path) -> ItemsProcessor:
        """What `ItemsProcessor.save` wrote."""
        return ItemsProcessor(self, read_json(folder / "items.json")["names"])


class ItemsProcessor:
    """Facts: `num_items`, and `max_length`."""

    random = False
    padded_lengths: tuple[int, ...] = ()

    def __init__(self, settings: Items, names: Sequence[str]):
        self._settings = settings
        self._names = tuple(names)
        self._places = positions(self._names)
        self.facts: dict[str, Any] = {
            "num_items": len(self._names),
            "max_length": settings.max_length,
        }

    def save(self, folder: Path) -> None:
        """`items.json`: the catalogue's keys in their order."""
        write_json(folder / "items.json", {"names": list(self._names)})

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None = None
    ) -> Example | None:
        """Places in the catalogue, the whole history."""
        settings = self._settings
        cell = cells[settings.column]
        # A long history is read with every row: names that are keys as they stand need no care.
        quick = [self._places.get(one) for one in cell] if _plain(cell) else [None]
        found = numbers(settings.of(cell, place), self._places) if None in quick else quick
        return {"item_ids": np.array(found, np.int32) + 1} if found else None

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """All are padded to one length."""
        return np.full(len(rows), self._settings.max_length)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """The latest items, zeros after them."""
        size = self._settings.max_length
        ids = np.zeros((len(examples), size), np.int32)
        count = len(self._names)
        seen = np.zeros((len(examples), -(-count // 8)), np.uint8)
        for row, example in enumerate(examples):
            if example is not None:
                whole = example["item_ids"]
                kept = whole[-size:]
                ids[row, : len(kept)] = kept
                flags = np.zeros(count, bool)
                flags[whole - 1] = True
                seen[row] = np.packbits(flags)
        return {"item_ids": ids, "attention_mask": ids > 0, "seen": seen}


def _plain(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and all(type(one) is str for one in cell)
