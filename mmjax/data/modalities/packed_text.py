"""A column of several texts a row, one after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Int
from mmjax.data import tokenization
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.modalities.text import Text, TextProcessor
from mmjax.data.table import Table
from mmjax.data.transforms.words import drop_words


@dataclasses.dataclass(frozen=True)
class PackedText(Text):
    """Token ids of lists of texts, such as the source `packed` makes.

    The fields of `text`, and `segment_ids` int32 [b n], which counts the texts of a row from 1 and
    is 0 in padding, and `position_ids` int32 [b n], which counts the tokens of each text from 0. An
    encoder must take `segment_ids`, so that no text sees another (`mmjax.nn.packing`); one that
    does not is refused. Texts that do not fit into `max_length` tokens any more are left out, the
    first is cut.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokenizer == "subwords":
            raise ConfigError(
                106,
                "tokenizer = 'subwords' makes bags of words, which have no order to be packed in",
                where="packed_text modality",
                fix="give wordpiece, bpe, or a tokenizer's folder",
            )
        if self.offsets:
            raise ConfigError(
                106,
                "offsets are asked for, but a row has several texts",
                where="packed_text modality",
                fix="give a modality of kind text",
            )

    def texts(self, cell: Any, place: Place) -> list[str]:
        """The clean texts of a cell. Raises DataError for what is no text, or a list of some."""
        cells = cell if isinstance(cell, list) else [cell]
        found = (self.text(one, place) for one in cells)
        return [one for one in found if one is not None]

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        return bool(self.texts(cells[self.column], place))

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> PackedTextProcessor:
        return PackedTextProcessor(self, self._learn(self._texts(table, rows)))

    def load(self, folder: Path) -> PackedTextProcessor:
        return PackedTextProcessor(self, tokenization.load(self.tokenizer, folder, self.max_length))

    def _texts(self, table: Table, rows: Int[np.ndarray, "n"]) -> Iterator[str]:
        cells = table.column(self.column)
        found = False
        for row in rows.tolist():
            for text in self.texts(cells[row], Place(table, row)):
                found = True
                yield text
        if not found:
            raise DataError(
                501,
                f"no training row has text in '{self.column}'",
                where=table.name,
                fix="choose another column",
            )


class PackedTextProcessor(TextProcessor):
    """Facts as those of `text`."""

    _settings: PackedText

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The ids of all texts of a row, unpadded."""
        settings = self._settings
        parts: list[Example] = []
        room = settings.max_length
        for text in settings.texts(cells[settings.column], place):
            if rng is not None and self.random:
                text = drop_words(text, rng, settings.word_dropout)
            ids, types = self._tokenizer.encode(text)
            if len(ids) > room:
                continue
            room -= len(ids)
            part = {
                "input_ids": np.array(ids, np.int32),
                "segment_ids": np.full(len(ids), len(parts) + 1, np.int32),
                "position_ids": np.arange(len(ids), dtype=np.int32),
            }
            if types is not None:
                part["token_type_ids"] = np.array(types, np.int32)
            parts.append(part)
        if not parts:
            return None
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Tokens of each row's texts."""
        cells = table.column(self._settings.column)
        column = self._settings.column
        examples = (self.example({column: cells[row]}, Place(table, row), None) for row in rows)
        found = [0 if one is None else len(one["input_ids"]) for one in examples]
        return np.array(found, np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Padded on the right to `length`, `max_length` if None."""
        added = ("segment_ids", "position_ids")
        plain = [
            None if one is None else {k: v for k, v in one.items() if k not in added}
            for one in examples
        ]
        fields = super().collate(plain, length, train=train)
        for name in added:
            fields[name] = np.zeros(fields["input_ids"].shape, np.int32)
            for i, one in enumerate(examples):
                if one is not None:
                    fields[name][i, : len(one[name])] = one[name]
        return fields
