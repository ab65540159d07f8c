"""Texts of one thing in several columns: names in many languages, tags, captions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Int
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.modalities.text import Text, TextProcessor
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Texts(Text):
    """`column`, in place of which training draws a text of another column now and then.

    Evaluation reads `column` alone, and a row without it has no text. A cell of the others holds a
    text, a list of texts, or a mapping of them (`{"fr": "pomme rouge"}`); one is drawn, or
    `together` of them, in random order, joined by blanks. The tokenizer is learnt from all texts of
    the training rows. Fields and other settings are those of `Text`.
    """

    also: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Other columns, and the share of the training examples that read each. A row that has nothing
    there is read from `column`."""
    together: int = 1
    """So many texts of a cell at the most make one training text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = list(self.also.values())
        if any(share < 0 for share in shares) or sum(shares) > 1 + 1e-9:
            raise ConfigError(
                106,
                f"also = {dict(self.also)} are no shares",
                where="texts modality",
                fix="0 or more each, 1 together at the most",
            )
        if self.offsets and self.also:
            raise ConfigError(
                106,
                "offsets are asked for, but training draws texts of other columns",
                where="texts modality",
                fix="give a modality of kind text, whose characters are those of one cell",
            )
        if self.together < 1:
            raise ConfigError(
                106, f"together = {self.together}", where="texts modality", fix="1 or more"
            )

    def reads(self) -> tuple[str, ...]:
        return (self.column, *(name for name in self.also if name != self.column))

    def texts(self, cell: Any, place: Place) -> list[str]:
        """The clean texts of a cell. Raises DataError for what is no text."""
        if isinstance(cell, Mapping):
            cell = list(cell.values())
        cells = cell if isinstance(cell, (list, tuple)) else [cell]
        found = (self.text(one, place) for one in cells)
        return [text for text in found if text is not None]

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        for name in self.reads():
            self.texts(cells[name], place)
        return super().check(cells, place, decode=decode)

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> TextsProcessor:  # type: ignore[override]
        """The tokenizer, learnt from all texts of the training rows or loaded."""
        return TextsProcessor(self, super().fit(table, rows))

    def load(self, folder: Path) -> TextsProcessor:  # type: ignore[override]
        return TextsProcessor(self, super().load(folder))

    def _texts(self, table: Table, rows: Int[np.ndarray, "n"]) -> Iterator[str]:
        yield from super()._texts(table, rows)
        for name in self.reads()[1:]:
            cells = table.column(name)
            for row in rows.tolist():
                yield from self.texts(cells[row], Place(table, row))


class TextsProcessor:
    """What reads the text that was drawn is the processor of one column."""

    def __init__(self, settings: Texts, one: TextProcessor):
        self._settings = settings
        self._one = one
        self._bounds = np.cumsum(list(settings.also.values()))
        self.random = bool(settings.also) or one.random
        self.padded_lengths = one.padded_lengths
        self.facts = one.facts
        self.tokenizer = one.tokenizer

    def save(self, folder: Path) -> None:
        """The tokenizer's files."""
        self._one.save(folder)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The ids of one text, unpadded; None for a row without text in the first column."""
        settings = self._settings
        if rng is not None and settings.text(cells[settings.column], place) is not None:
            # Drawn whatever the row has, so that what follows does not depend on it.
            column, order = np.searchsorted(self._bounds, rng.random(), side="right"), rng.random()
            if column < len(self._bounds):
                found = settings.texts(cells[list(settings.also)[column]], place)
                if found:
                    cells = {settings.column: _some(found, settings.together, order)}
        return self._one.example(cells, place, rng)

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Tokens of each row's longest text, as many together as training may join."""
        longest = self._one.lengths(table, rows)
        settings = self._settings
        for name in settings.also:
            cells = table.column(name)
            texts = [settings.texts(cells[row], Place(table, row)) for row in rows.tolist()]
            # The tokens of several texts are at the most those of each, with their special ones.
            each = [sorted(map(self._tokens, found), reverse=True) for found in texts]
            most = [sum(counts[: settings.together]) for counts in each]
            longest = np.maximum(longest, np.minimum(most, settings.max_length))
        return longest.astype(np.int32)

    def _tokens(self, text: str) -> int:
        table = Table({self._settings.column: [text]}, "text", "")
        return int(self._one.lengths(table, np.zeros(1, np.int64))[0])

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Padded on the right to `length`, `max_length` if None."""
        return self._one.collate(examples, length, train=train)


def _some(texts: Sequence[str], most: int, order: float) -> str:
    """Some of the texts in an order that the uniform number `order` stands for."""
    rng = np.random.Generator(np.random.Philox(key=int(order * 2**53)))
    chosen = rng.permutation(len(texts))[: rng.integers(1, most + 1)]
    return " ".join(texts[i] for i in chosen)
