"""Where in a text its questions are answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.cells import shown
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role, cell_of, columns_of

Ranges = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class AnswerSpans:
    """The half-open ranges of characters of a text that answer a question; none if nothing does.

    A cell is a list of `[start, end]`, or of `{"text", "answer_start"}` as in SQuAD's files, or
    `{"text": [...], "answer_start": [...]}` as in those of `datasets`. Of equal ranges one counts;
    of more than `most`, the first. A batch has int32 [b most 2], (-1, -1) after the last.

    With the column of the text in `also`, ranges that are not in it, and texts that are not what
    stands there, are refused. With `find`, a cell may also be the answer itself, whose range is
    where the text has it first; an empty one, or a missing one, means no answer.
    """

    column: str
    also: tuple[str, ...] = ()
    """One column at most: the text that the ranges are of."""
    most: int = 8
    find: bool = False

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if len(self.also) > 1 or self.most < 1 or (self.find and not self.also):
            raise ConfigError(
                106,
                f"also = {self.also}, most = {self.most}, find = {self.find}",
                where=f"targets of '{self.column}'",
                fix="one column of text at most (with find, one), and room for one answer at least",
            )

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a missing cell, and for what is no such list."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> Ranges:
        """The ranges in a cell, each once."""
        where, text = place.where(self.column), None
        if self.also:
            cell, text = cell
        if self.find and (cell is None or isinstance(cell, str)):
            return _first(cell or "", text, where)
        if cell is None:
            raise DataError(
                530,
                "the row does not say where the answer is",
                where=where,
                fix="give an empty list where there is none, or leave the row out",
            )
        found = [_range(one, where) for one in _listed(cell, where)]
        for start, end, said in found:
            known = text if isinstance(text, str) else None
            outside = known is not None and end > len(known)
            if not 0 <= start < end or outside:
                raise DataError(
                    531,
                    f"the range {start} to {end} is empty or outside the text",
                    where=where,
                    fix="count characters from 0; the end is the first one after the answer",
                )
            if known is not None and said is not None and known[start:end] != said:
                raise DataError(
                    531,
                    f"'{shown(said)}' is not what stands at {start}: '{shown(known[start:end])}'",
                    where=where,
                    fix="count characters, not bytes, in Unicode's composed form (NFC)",
                )
        return tuple(dict.fromkeys((start, end) for start, end, _ in found))

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> AnswerSpansProcessor:
        """Whether some training rows have no answer. Raises DataError where none has one."""
        columns, counts = columns_of(self), [0, 0]
        for row in rows.tolist():
            counts[bool(self.of(cell_of(table, columns, row), Place(table, row)))] += 1
        if not counts[1]:
            raise DataError(
                532, f"no training row has an answer in '{self.column}'", where=table.name
            )
        return AnswerSpansProcessor(self, counts[0])

    def load(self, folder: Path) -> AnswerSpansProcessor:
        """What `AnswerSpansProcessor.save` wrote."""
        return AnswerSpansProcessor(self, int(read_json(folder / "answers.json")["unanswerable"]))


class AnswerSpansProcessor:
    """Facts: `unanswerable`, how many training rows have no answer."""

    def __init__(self, settings: AnswerSpans, unanswerable: int):
        self._settings = settings
        self.facts: dict[str, Any] = {"unanswerable": unanswerable}

    def save(self, folder: Path) -> None:
        """`answers.json`: the facts."""
        write_json(folder / "answers.json", self.facts)

    def encode(self, cell: Any, place: Place) -> Ranges:
        """The ranges of a row."""
        return self._settings.of(cell, place)

    def collate(self, values: Sequence[Ranges | None]) -> Int[np.ndarray, "b most 2"]:
        """int32."""
        most = self._settings.most
        batch = np.full((len(values), most, 2), -1, np.int32)
        for row, ranges in enumerate(values):
            for i, one in enumerate((ranges or ())[:most]):
                batch[row, i] = one
        return batch


def _first(answer: str, text: Any, where: str) -> Ranges:
    """Where the text has the answer first; nowhere if there is none."""
    answer = answer.strip()
    if not answer:
        return ()
    start = text.find(answer) if isinstance(text, str) else -1
    if start < 0:
        raise DataError(
            531,
            f"the text does not have the answer '{shown(answer)}'",
            where=where,
            fix="write it as the text does, leave it empty where there is none, or the row out",
        )
    return ((start, start + len(answer)),)


def _listed(cell: Any, where: str) -> list[Any]:
    if isinstance(cell, Mapping) and isinstance(cell.get("answer_start"), (list, np.ndarray)):
        texts, starts = list(cell.get("text", ())), list(cell["answer_start"])
        if len(texts) == len(starts):
            pairs = zip(texts, starts, strict=True)
            return [{"text": text, "answer_start": start} for text, start in pairs]
    elif isinstance(cell, (list, tuple, np.ndarray)):
        return list(cell)
    raise DataError(
        531,
        f"'{shown(cell)}' is no list of answers",
        where=where,
        fix='give [[start, end], ...], [{"text", "answer_start"}, ...], or SQuAD\'s dictionary',
    )


def _range(one: Any, where: str) -> tuple[int, int, str | None]:
    try:
        if isinstance(one, Mapping):
            start, said = int(one["answer_start"]), str(one["text"])
            return start, start + len(said), said
        start, end = one
        return int(start), int(end), None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            531,
            f"'{shown(one)}' is no answer",
            where=where,
            fix='give [start, end] or {"text", "answer_start"}',
        ) from error
