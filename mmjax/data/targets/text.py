"""A text that is to be written."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Int
from mmjax.data import tokenization
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role, cell_of, columns_of
from mmjax.data.tokenization import HuggingFace, Trained

NOTHING = -1
"""What stands behind the end of a text."""


@dataclasses.dataclass(frozen=True)
class WrittenText:
    """The ids of a text and of its end: int32 [b n], n = `max_length`, NOTHING behind.

    A cell is a text, or a list of texts that would all be right, of which training takes the one
    that is there most often, else the first. Evaluation compares with all of them as they are in
    the table. A text of more than `max_length` ids is cut, and then has no end. The column in
    `also`, if there is one, names a group of rows that is judged by itself, such as a language.
    """

    column: str
    also: tuple[str, ...] = ()
    tokenizer: str = "bpe"
    """"bpe", "wordpiece" or "characters", learnt from the training rows, or the folder or hub id
    of a Hugging Face tokenizer. Of these "wordpiece" alone does not keep blanks around marks."""
    vocab_size: int = 2000
    max_length: int = 32
    """Tokens, the end included."""
    lower_case: bool = False

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if self.max_length < 2 or len(self.also) > 1:
            raise ConfigError(
                106,
                f"max_length = {self.max_length}, also = {self.also}",
                where=f"targets of '{self.column}'",
                fix="two tokens at least, and one column of groups at most",
            )
        tokenization.check_name(self.tokenizer)
        if self.tokenizer == "subwords":
            raise ConfigError(
                110,
                "tokenizer = 'subwords' makes bags of words, of which no text is written",
                where=f"targets of '{self.column}'",
                fix="bpe, wordpiece, characters or a tokenizer's folder",
            )

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a row without text or group, and for what is no text."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> tuple[tuple[str, ...], str]:
        """The texts of a row, and its group ("" without groups)."""
        group = ""
        if self.also:
            cell, named = cell
            group = (key_of(named) or "").strip()
            if not group:
                raise DataError(
                    530,
                    "the row has no group",
                    where=place.where(self.also[0]),
                    fix="fill the column, or do not name it in `also`",
                )
        cells = list(cell) if isinstance(cell, (list, tuple, np.ndarray)) else [cell]
        where = place.where(self.column)
        for one in cells:
            if one is not None and not isinstance(one, (str, int, float)):
                raise DataError(
                    531, f"'{shown(one)}' is no text", where=where, fix="give text, or a list of it"
                )
        texts = tuple(clean_text(key_of(one) or "").strip() for one in cells)
        if not any(texts):
            raise DataError(530, "the row has no text", where=where, fix="give it, or leave it out")
        return tuple(one for one in texts if one), group

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> WrittenTextProcessor:
        """The tokenizer, learnt from all texts of the training rows, or loaded."""
        if self.tokenizer not in tokenization.TRAINED:
            return self._processor(HuggingFace.load(self.tokenizer, _LONGEST))
        learnt = Trained.train(
            self.tokenizer,
            self._texts(table, rows),
            vocab_size=self.vocab_size,
            max_length=_LONGEST,
            lower_case=self.lower_case,
        )
        return self._processor(learnt)

    def load(self, folder: Path) -> WrittenTextProcessor:
        """What `WrittenTextProcessor.save` wrote."""
        return self._processor(tokenization.load(self.tokenizer, folder, _LONGEST))

    def _texts(self, table: Table, rows: Int[np.ndarray, "n"]) -> Iterable[str]:
        columns = columns_of(self)
        for row in rows.tolist():
            yield from self.of(cell_of(table, columns, row), Place(table, row))[0]

    def _processor(self, tokenizer: tokenization.Tokenizer) -> WrittenTextProcessor:
        if not isinstance(tokenizer, (Trained, HuggingFace)):
            raise ConfigError(110, f"'{self.tokenizer}' writes no text", fix="bpe")
        if isinstance(tokenizer, HuggingFace):
            tokenizer = tokenizer.of_targets()
        return WrittenTextProcessor(self, tokenizer)


_LONGEST = 1 << 20
"""Ids that a tokenizer may give; the target cuts them itself."""


class WrittenTextProcessor:
    """Facts: `vocab_size`, `max_length`, `start_id`, `end_id`, `pad_id`, and `speller`, the
    tokenizer as `data.spelling` reads it.

    What begins a text is the tokenizer's own token for that, else its padding, as of T5.
    """

    def __init__(self, settings: WrittenText, tokenizer: Trained | HuggingFace):
        self._settings = settings
        self._tokenizer = tokenizer
        start, end = tokenizer.start_id, tokenizer.end_id
        if end is None:
            raise ConfigError(
                110,
                f"the tokenizer '{settings.tokenizer}' has no token for the end of a text",
                where=f"targets of '{settings.column}'",
                fix="choose another one, such as bpe",
            )
        around = list(tokenizer.encode("").ids)
        self._before = around[: around.index(end)] if end in around else around
        self._end = end
        self.facts: dict[str, Any] = {
            "vocab_size": tokenizer.vocab_size,
            "max_length": settings.max_length,
            "start_id": tokenizer.pad_id if start is None else start,
            "end_id": end,
            "pad_id": tokenizer.pad_id,
            "speller": tokenizer.written(),
        }

    def save(self, folder: Path) -> None:
        """The tokenizer's files."""
        self._tokenizer.save(folder)

    def encode(self, cell: Any, place: Place) -> Int[np.ndarray, "n"]:
        """The ids of the text that training takes, its end behind."""
        texts, _ = self._settings.of(cell, place)
        ids = list(self._tokenizer.encode(Counter(texts).most_common(1)[0][0]).ids)
        before = len(self._before)
        if ids[:before] == self._before:
            ids = ids[before:]
        if self._end in ids:
            ids = ids[: ids.index(self._end)]
        return np.array([*ids, self._end][: self._settings.max_length], np.int32)

    def collate(self, values: Sequence[Int[np.ndarray, "n"] | None]) -> Int[np.ndarray, "b n"]:
        """int32, NOTHING behind each text and for None."""
        batch = np.full((len(values), self._settings.max_length), NOTHING, np.int32)
        for row, value in enumerate(values):
            if value is not None:
                batch[row, : len(value)] = value
        return batch

    def texts(self, cells: Sequence[Any], places: Sequence[Place]) -> dict[str, list[Any]]:
        """What rows are judged by: `references`, a tuple of texts each, and `group`, a name each,
        where there are groups.
        """
        found = [self._settings.of(cell, place) for cell, place in zip(cells, places, strict=True)]
        groups = {"group": [group for _, group in found]} if self._settings.also else {}
        return {"references": [texts for texts, _ in found], **groups}
