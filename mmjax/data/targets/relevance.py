"""How right a candidate is, among those of its question."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import write_json
from mmjax.core.typing import Int
from mmjax.data.cells import shown
from mmjax.data.modalities.base import Place
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table
from mmjax.data.targets.base import Role
from mmjax.data.targets.same import SameProcessor

Cell = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Relevance:
    """A row is a question and one candidate: its grade (0 is wrong), and which question it is of.

    `also` names the column whose equal cells are of one question, compared as `same` does; without
    it all rows are of one. Splits that are made keep a question's rows together if `split.group`
    names that column too. Grades are true or false, or whole numbers of 0 or more. A batch has
    int32 [b 2]: the number of the question, and the grade.

    With `together`, a training batch holds all training candidates of each of its questions, as
    losses of a whole list need (`mmjax.data.together`); some places of it may stay empty.
    """

    column: str
    also: tuple[str, ...] = ()
    together: bool = False

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if len(self.also) > 1:
            raise ConfigError(
                106, f"also = {self.also}", where=f"targets of '{self.column}'", fix="one column"
            )

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for no grade, and for a question that is not named."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> Cell:
        """The number of the question, and the grade."""
        question = 0
        if self.also:
            cell, group = cell
            question = SameProcessor(self.also[0]).encode(group, place)
        grade = float(cell) if isinstance(cell, (bool, np.bool_)) else parse_number(cell)
        if grade is None or not 0 <= grade < 2**31 or grade != int(grade):
            blank = cell is None or (isinstance(cell, str) and not cell.strip())
            raise DataError(
                530 if blank else 531,
                "the row has no grade" if blank else f"'{shown(cell)}' is no grade",
                where=place.where(self.column),
                fix="give 0 for a wrong candidate, and 1 (or more) for a right one",
            )
        return question, int(grade)

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> RelevanceProcessor:
        """Learns nothing; the columns must exist."""
        for column in (self.column, *self.also):
            table.column(column)
        return RelevanceProcessor(self)

    def load(self, folder: Path) -> RelevanceProcessor:
        """What `RelevanceProcessor.save` wrote."""
        return RelevanceProcessor(self)


class RelevanceProcessor:
    """Facts: `together`, whether a training batch has all candidates of its questions."""

    def __init__(self, settings: Relevance):
        self._settings = settings
        self.facts: dict[str, Any] = {"together": settings.together}

    @property
    def together(self) -> bool:
        """Whether rows of one `group` belong into one training batch."""
        return self._settings.together

    def group(self, cell: Any, place: Place) -> int:
        """The number of the question."""
        return self._settings.of(cell, place)[0]

    def save(self, folder: Path) -> None:
        """`relevance.json`: the columns."""
        write_json(
            folder / "relevance.json",
            {"column": self._settings.column, "also": list(self._settings.also)},
        )

    def encode(self, cell: Any, place: Place) -> Cell:
        """The number of the question, and the grade."""
        return self._settings.of(cell, place)

    def collate(self, values: Sequence[Cell | None]) -> Int[np.ndarray, "b 2"]:
        """int32; zeros for None."""
        batch = np.zeros((len(values), 2), np.int32)
        for row, value in enumerate(values):
            if value is not None:
                batch[row] = value
        return batch
