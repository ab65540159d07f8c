"""The item that someone chose next, of a catalogue."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import atomic_path, read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.catalogue import Catalogue, items_of, positions
from mmjax.data.cells import shown
from mmjax.data.config import ModalitySpec, SourceSpec
from mmjax.data.config import modalities as modality_registry
from mmjax.data.modalities.base import Place, Processor
from mmjax.data.table import Table
from mmjax.data.targets.base import Role

Content = Mapping[str, Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Item:
    """One key of the catalogue `items` a row, up to `most` of them in a row that is evaluated.

    The catalogue's own texts, pictures and columns are `modalities`, by names of your own. They are
    read once, travel with the model, and are fitted on the items that the training rows chose. A
    cell is a key, a list of them, or text with a `separator` between them.
    """

    column: str
    items: SourceSpec
    key: str
    """The catalogue's column of keys."""
    modalities: Mapping[str, ModalitySpec] = dataclasses.field(default_factory=dict)
    """What describes an item, as columns of the catalogue."""
    most: int = 1
    """So many relevant items has a row at the most."""
    separator: str | None = None

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if self.most < 1 or self.separator == "":
            raise ConfigError(
                106,
                f"most = {self.most}, separator = {self.separator!r}",
                where=f"targets of '{self.column}'",
                fix="1 or more, and a separator such as ','",
            )

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a row without an item, or with more than `most`."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> list[str]:
        """The keys in a cell."""
        found = list(dict.fromkeys(items_of(cell, self.separator, place, self.column)))
        if not 1 <= len(found) <= self.most:
            raise DataError(
                531 if found else 530,
                f"the row has {len(found)} items",
                where=place.where(self.column),
                fix=f"give 1 to {self.most} of them, or set most={len(found)}"
                if found
                else "give an item, or leave the row out",
            )
        return found

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> ItemProcessor:
        """How often the training rows choose each item, and what describes it."""
        catalogue = Catalogue(self.items, self.key)
        places = positions(catalogue.names)
        counts = np.zeros(len(places), np.int64)
        cells = table.column(self.column)
        for row in rows.tolist():
            place = Place(table, row)
            for name in self.of(cells[row], place):
                counts[_place(name, places, place, self.column)] += 1
        settings = {name: modality_registry.build(spec) for name, spec in self.modalities.items()}
        chosen = catalogue.rows[counts > 0]
        fitted = {name: one.fit(catalogue.table, chosen) for name, one in settings.items()}
        content, present = _content(catalogue, settings, fitted)
        return ItemProcessor(self, catalogue.names, counts.tolist(), fitted, content, present)

    def load(self, folder: Path) -> ItemProcessor:
        """What `ItemProcessor.save` wrote."""
        stored = read_json(folder / "items.json")
        settings = {name: modality_registry.build(spec) for name, spec in self.modalities.items()}
        fitted = {name: one.load(folder / name) for name, one in settings.items()}
        content: dict[str, dict[str, np.ndarray]] = {name: {} for name in fitted}
        present = {}
        with np.load(folder / "content.npz", allow_pickle=False) as arrays:
            for path in arrays.files:
                name, _, field = path.partition("/")
                if field:
                    content[name][field] = arrays[path]
                else:
                    present[name] = arrays[path]
        return ItemProcessor(self, stored["names"], stored["counts"], fitted, content, present)


class ItemProcessor:
    """Facts: `num_items`, `item_names`, `item_counts` (training rows that chose each), and of each
    modality of the items what its encoder must know (`item_facts`) and the shape and type of each
    field (`item_fields`).
    """

    def __init__(
        self,
        settings: Item,
        names: Sequence[str],
        counts: Sequence[int],
        fitted: Mapping[str, Processor],
        content: Content,
        present: Mapping[str, np.ndarray],
    ):
        self._settings = settings
        self._places = positions(names)
        self._fitted = fitted
        self.constants: dict[str, dict[str, np.ndarray]] = {
            name: {**fields, "present": present[name]} for name, fields in content.items()
        }
        """What the model keeps of the items, [items ...], by modality and field."""
        self.facts: dict[str, Any] = {
            "num_items": len(names),
            "item_names": tuple(names),
            "item_counts": tuple(counts),
            "item_facts": {name: one.facts for name, one in fitted.items()},
            "item_fields": {
                name: {
                    field: (tuple(array.shape), array.dtype.name) for field, array in fields.items()
                }
                for name, fields in self.constants.items()
            },
        }

    def save(self, folder: Path) -> None:
        """`items.json`, `content.npz`, and the processors of the items' modalities."""
        for name, one in self._fitted.items():
            one.save(folder / name)
        arrays = {
            name if field == "present" else f"{name}/{field}": array
            for name, fields in self.constants.items()
            for field, array in fields.items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "content.npz") as path, path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        counts = list(self.facts["item_counts"])
        write_json(folder / "items.json", {"names": list(self._places), "counts": counts})

    def encode(self, cell: Any, place: Place) -> tuple[int, ...]:
        """Places in the catalogue. Raises DataError for an item that it does not have."""
        settings = self._settings
        names = settings.of(cell, place)
        return tuple(_place(name, self._places, place, settings.column) for name in names)

    def collate(self, values: Sequence[tuple[int, ...] | None]) -> Int[np.ndarray, "b m"]:
        """int32, -1 where there is no further item."""
        batch = np.full((len(values), self._settings.most), -1, np.int32)
        for row, places in enumerate(values):
            if places is not None:
                batch[row, : len(places)] = places
        return batch


def _place(name: str, places: Mapping[str, int], place: Place, column: str) -> int:
    if name not in places:
        raise DataError(
            531,
            f"the catalogue has no item '{shown(name)}'",
            where=place.where(column),
            fix=nearest(name, places),
        )
    return places[name]


def _content(
    catalogue: Catalogue, settings: Mapping[str, Any], fitted: Mapping[str, Processor]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Each modality of all items as one batch, and which items have it."""
    table = catalogue.table
    content, present = {}, {}
    for name, one in fitted.items():
        columns = {column: table.column(column) for column in settings[name].reads()}
        examples = [
            one.example({c: cells[row] for c, cells in columns.items()}, Place(table, row), None)
            for row in catalogue.rows.tolist()
        ]
        longest = one.padded_lengths[-1] if one.padded_lengths else None
        content[name] = one.collate(examples, longest, train=False)
        present[name] = np.array([example is not None for example in examples], bool)
    return content, present
