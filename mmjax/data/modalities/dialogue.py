"""What was said around an utterance: texts of other rows of its dialogue."""

from __future__ import annotations

import dataclasses
import weakref
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Int
from mmjax.data.cells import key_of, shown
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.modalities.text import Text, TextProcessor
from mmjax.data.numbers import parse_number
from mmjax.data.table import Table

Lines = dict[str, list[int]]
"""The rows of each dialogue, in order."""


@dataclasses.dataclass(frozen=True)
class Dialogue(Text):
    """One text of the `before` utterances before a row's own and the `after` after it, in order.

    Utterances of one dialogue share the cell of `dialogue` and follow each other by the number in
    `turn`, or, without one and among equal numbers, as the table has them. The own utterance is not
    among them: it is a `text` modality of its own, and so either can be left out. Utterances
    without text are passed over; of more tokens than `max_length` the farthest utterances go first.
    A row that has no dialogue, or is alone in it, has no such modality. Fields and other settings
    are those of `Text`.

    All rows of a table may be context of each other, whatever their split, as far as texts go; so
    that no dialogue is in two splits, set `data.split.group` to the column of `dialogue`. Of a
    single example that is predicted nothing is known of its dialogue: give the dialogue as a table.
    Raises ConfigError for tables that are read row by row.
    """

    dialogue: str = "dialogue"
    turn: str | None = None
    before: int = 3
    after: int = 0
    between: str = " "

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.before, self.after) < 0 or not self.before + self.after or self.offsets:
            raise ConfigError(
                106,
                f"before = {self.before}, after = {self.after}, offsets = {self.offsets}",
                where="dialogue modality",
                fix="utterances of 0 or more, one at least, and no offsets",
            )

    def reads(self) -> tuple[str, ...]:
        return (self.column, self.dialogue, *(() if self.turn is None else (self.turn,)))

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        if key_of(cells[self.dialogue]) is not None:
            self._time(place.table, place.row)
        return bool(self.neighbours(place))

    def neighbours(self, place: Place) -> list[tuple[int, str]]:
        """The utterances around a row, the nearest first: how far each is, and its text."""
        table, row = place.table, place.row
        key = key_of(table.column(self.dialogue)[row])
        if key is None:
            return []
        lines = self._lines(table)[key]
        own, texts = lines.index(row), table.column(self.column)
        found: list[tuple[int, str]] = []
        for step, most in ((-1, self.before), (1, self.after)):
            at, taken = own + step, 0
            while taken < most and 0 <= at < len(lines):
                text = self.text(texts[lines[at]], Place(table, lines[at]))
                if text is not None:
                    found.append((at - own, text))
                    taken += 1
                at += step
        return sorted(found, key=lambda one: abs(one[0]))

    def context(self, place: Place, fits: Callable[[str], bool]) -> str | None:
        """The text of as many neighbours as fit, the nearest at least; None if there are none."""
        chosen: list[tuple[int, str]] = []
        text = None
        for one in self.neighbours(place):
            longer = self.between.join(said for _, said in sorted([*chosen, one]))
            if text is not None and not fits(longer):
                break
            chosen.append(one)
            text = longer
        return text

    def _lines(self, table: Table) -> Lines:
        settings = (self.dialogue, self.turn)
        kept, lines = _KNOWN.get((id(table), *settings), (lambda: None, {}))
        if kept() is not table:
            if table.lazy:
                raise ConfigError(
                    106,
                    f"the rows around a row of '{table.name}' are not known, as it is read row by "
                    "row",
                    where="dialogue modality",
                    fix="give csv, jsonl or parquet, or the context as a column of its own",
                )
            lines = self._find(table)
            _KNOWN[id(table), *settings] = (weakref.ref(table), lines)
            weakref.finalize(table, _KNOWN.pop, (id(table), *settings), None)
        return lines

    def _find(self, table: Table) -> Lines:
        found: Lines = defaultdict(list)
        for row, cell in enumerate(table.column(self.dialogue)):
            key = key_of(cell)
            if key is not None:
                found[key].append(row)
        if self.turn is not None:
            for rows in found.values():
                rows.sort(key=lambda row: self._time(table, row))
        return dict(found)

    def _time(self, table: Table, row: int) -> float:
        if self.turn is None:
            return 0.0
        cell = table.column(self.turn)[row]
        number = parse_number(cell)
        if number is None:
            raise DataError(
                531,
                f"'{shown(cell)}' is no number",
                where=table.where(row, self.turn),
                fix="number the utterances of a dialogue",
            )
        return number

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> DialogueProcessor:  # type: ignore[override]
        """The tokenizer, learnt from the utterances of the training rows or loaded."""
        return DialogueProcessor(self, super().fit(table, rows))

    def load(self, folder: Path) -> DialogueProcessor:  # type: ignore[override]
        return DialogueProcessor(self, super().load(folder))


_KNOWN: dict[tuple[Any, ...], tuple[Callable[[], Table | None], Lines]] = {}
"""The dialogues of the tables that are in use."""


class DialogueProcessor:
    """What reads the joined text is the processor of one column."""

    def __init__(self, settings: Dialogue, one: TextProcessor):
        self._settings = settings
        self._one = one
        self.random = one.random
        self.padded_lengths = one.padded_lengths
        self.facts = one.facts
        self.tokenizer = one.tokenizer

    def save(self, folder: Path) -> None:
        """The tokenizer's files."""
        self._one.save(folder)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The ids of the joined text, unpadded."""
        return self._one.example({self._settings.column: self._text(place)}, place, rng)

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Tokens of each row's joined text."""
        texts = [self._text(Place(table, row)) for row in rows.tolist()]
        joined = Table({self._settings.column: texts}, table.name, "")
        return self._one.lengths(joined, np.arange(len(texts)))

    def collate(
        self, examples: list[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Padded on the right to `length`, `max_length` if None."""
        return self._one.collate(examples, length, train=train)

    def _text(self, place: Place) -> str | None:
        return self._settings.context(place, self._fits)

    def _fits(self, text: str) -> bool:
        """Whether a text surely is not cut: one with as many tokens as there may be could be."""
        table = Table({self._settings.column: [text]}, "text", "")
        return int(self._one.lengths(table, np.zeros(1, np.int64))[0]) < self._settings.max_length
