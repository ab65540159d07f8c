"""Parts of a text that are given with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import write_json
from mmjax.core.typing import Int
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.spans import EMPTY, read_spans
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Marks:
    """One part of a text for each of `names`, such as the two entities of a relation.

    Field: `marks` int32 [b names 2], the half-open range of characters of each, -1 where the row
    has none. It is for a task that reads a text's tokens by them, and needs no encoder. A cell is
    `{"head": [0, 3], "tail": [12, 20]}`, or a list of spans as a target of kind spans has them.
    Characters are counted in the text as the table holds it, in Unicode's composed form; with
    `text`, the column of that text, parts must lie in it.
    """

    column: str
    names: tuple[str, ...] = ("head", "tail")
    text: str | None = None

    meaning: ClassVar[tuple[str, ...]] = ("names",)

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ConfigError(
                106, f"names = {self.names}", where="marks modality", fix="distinct names"
            )

    def reads(self) -> tuple[str, ...]:
        return (self.column,) if self.text is None else (self.column, self.text)

    def of(self, cells: Cells, place: Place) -> Int[np.ndarray, "k 2"] | None:
        """The ranges of a row by name; None if it has no marks.

        Raises DataError for a name that is missing, unknown or twice, and for what is no span.
        """
        cell, where = cells[self.column], place.where(self.column)
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        text = None
        if self.text is not None:
            text = "" if cells[self.text] is None else str(cells[self.text])
        if isinstance(cell, Mapping):
            cell = [_named(name, one) for name, one in cell.items()]
        found: dict[str, tuple[int, int]] = {}
        for span in read_spans(cell, where, text=text):
            if span.label not in self.names or span.label in found:
                twice = span.label in found
                raise DataError(
                    531,
                    f"'{span.label}' is marked twice" if twice else f"unknown mark '{span.label}'",
                    where=where,
                    fix="one of each" if twice else nearest(span.label, self.names),
                )
            found[span.label] = span.start, span.end
        missing = [name for name in self.names if name not in found]
        if missing:
            raise DataError(
                531, f"no '{missing[0]}' is marked", where=where, fix="mark one of each"
            )
        return np.array([found[name] for name in self.names], np.int32)

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        return self.of(cells, place) is not None

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> MarksProcessor:
        """Learns nothing; the columns must exist."""
        for column in self.reads():
            table.column(column)
        return MarksProcessor(self)

    def load(self, folder: Path) -> MarksProcessor:
        return MarksProcessor(self)


class MarksProcessor:
    """Facts: `mark_names`."""

    random = False
    padded_lengths: tuple[int, ...] = ()

    def __init__(self, settings: Marks):
        self._settings = settings
        self.facts: dict[str, Any] = {"mark_names": settings.names}

    def save(self, folder: Path) -> None:
        """`marks.json`: the names."""
        write_json(folder / "marks.json", {"names": list(self._settings.names)})

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The ranges of one row."""
        found = self._settings.of(cells, place)
        return None if found is None else {"marks": found}

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """One for each row: the shape is fixed."""
        return np.ones(len(rows), np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """-1 for a row without marks."""
        batch = np.full((len(examples), len(self._settings.names), 2), EMPTY, np.int32)
        for i, example in enumerate(examples):
            if example is not None:
                batch[i] = example["marks"]
        return {"marks": batch}


def _named(name: str, one: Any) -> Any:
    if isinstance(one, Mapping):
        return {**one, "label": name}
    return [*one, name] if isinstance(one, (list, tuple)) else one
