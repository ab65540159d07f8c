"""What a target promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from mmjax.core.typing import Int, Shaped
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table

Role = Literal["class", "thing", "value"]
"""What a target is to splits: classes stratify them, rows of one thing stay together."""
ROLES: tuple[Role, ...] = get_args(Role)


@runtime_checkable
class TargetProcessor(Protocol):
    """A fitted target."""

    facts: dict[str, Any]
    """What a task must know: JSON values."""

    def save(self, folder: Path) -> None:
        """Writes what was learnt as files that need no code to be read."""

    def encode(self, cell: Any, place: Place) -> Any:
        """One row's target. Raises DataError for a missing or unknown one."""

    def collate(self, values: Sequence[Any]) -> Shaped[np.ndarray, "b ..."]:
        """The batch's targets; zeros for None, which is a row of padding."""


@runtime_checkable
class HasTexts(Protocol):
    """A fitted target whose rows are judged by texts that its ids do not hold whole."""

    def texts(self, cells: Sequence[Any], places: Sequence[Place]) -> dict[str, list[Any]]:
        """By name, one text or tuple of texts a row."""


@runtime_checkable
class HasGroups(Protocol):
    """A fitted target that can tell which rows belong together in training."""

    @property
    def together(self) -> bool:
        """Whether rows of one group are to be in one batch."""

    def group(self, cell: Any, place: Place) -> int:
        """The number of a row's group. Raises DataError if the cell does not tell it."""


@runtime_checkable
class Target(Protocol):
    """The settings of a target."""

    column: str
    """Of a target of several columns the first; `also` are the others."""
    role: ClassVar[Role]

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a cell (`cell_of`) that is no target whatever was fitted."""

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> TargetProcessor:
        """Learns from the training rows alone."""

    def load(self, folder: Path) -> TargetProcessor:
        """What `TargetProcessor.save` wrote."""


@runtime_checkable
class SeesModalities(Protocol):
    """A target that is right only where a modality is prepared in some way."""

    def check_modalities(self, modalities: Mapping[str, Any]) -> None:
        """Raises ConfigError for modalities, by name, that are prepared in another way."""


def columns_of(target: Any) -> tuple[str, ...]:
    """The columns that a target reads: its `column`, and those of `also` if it has such."""
    return (target.column, *getattr(target, "also", ()))


def cell_of(table: Table, columns: Sequence[str], row: int) -> Any:
    """What a target is made of in a row: the cell of its column, or a list of those of several."""
    cells = [table.column(column)[row] for column in columns]
    return cells if len(cells) > 1 else cells[0]
