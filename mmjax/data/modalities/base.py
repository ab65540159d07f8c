"""What a modality promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from mmjax.core.typing import Int
from mmjax.data.table import Table

Cells = Mapping[str, Any]
Example = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a row's cells come from: for errors, and for the folder of its media."""

    table: Table
    row: int

    def where(self, column: str | None = None) -> str:
        """`file:line:column`."""
        return self.table.where(self.row, column)

    def root(self, column: str) -> Path | None:
        """The folder that the column's media paths are relative to."""
        return self.table.root_of(column, self.row)


@runtime_checkable
class Processor(Protocol):
    """A fitted modality."""

    facts: dict[str, Any]
    """What an encoder must know: JSON values."""
    random: bool
    """Whether a training example is random; if not, `rng` is None in training too."""
    padded_lengths: tuple[int, ...]
    """The lengths that a batch may be padded to, ascending; empty if all shapes are fixed."""

    def save(self, folder: Path) -> None:
        """Writes what was learnt as files that need no code to be read."""

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """One row's arrays as `collate` takes them; None if the row has no such modality.

        `rng` is None in evaluation. Raises DataError, naming the place, for a damaged cell.
        """

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The unpadded length of each row, 0 where it is missing; asked if `padded_lengths`."""

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """The batch's fields, [b ...]; zeros for None. `length` is one of `padded_lengths`."""


@runtime_checkable
class Modality(Protocol):
    """The settings of a modality."""

    meaning: ClassVar[tuple[str, ...]]
    """Settings that say what the fields' numbers stand for, besides what was learnt from rows. An
    encoder that was trained with some has no use for others."""

    def reads(self) -> tuple[str, ...]:
        """The columns that it wants the cells of."""

    def check(self, cells: Cells, place: Place, *, decode: bool) -> bool:
        """Whether the row has this modality. Raises DataError for a damaged cell.

        Media are only looked for unless `decode`. Needs no fitting.
        """

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> Processor:
        """Learns from the training rows alone."""

    def load(self, folder: Path) -> Processor:
        """What `Processor.save` wrote."""
