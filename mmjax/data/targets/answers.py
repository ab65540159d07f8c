"""The answers that one or several annotators gave to a question."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.answer_text import commonest, normalise_answer
from mmjax.data.cells import key_of, shown
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role, cell_of, columns_of

UNKNOWN = -1
"""An answer that is not in the vocabulary."""
NOBODY = -2
"""Where a row has fewer annotators than the batch has room for."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers out of a vocabulary: a cell is an answer, or a list of each annotator's.

    Answers are compared as `answer_text.normalise_answer` makes them. The vocabulary is `names`, or
    the `most` answers that most training rows agree on (the commonest of each row; answers of one
    count in alphabetical order); all other answers count as wrong ones that nobody can predict.

    A row of a batch is int32 numbers: the type of the question, the commonest answer, then each
    annotator's, UNKNOWN for an answer outside the vocabulary, NOBODY after the last. The type is
    the row's cell in the column `also`, such as "yes/no", and 0 without one.
    """

    column: str
    also: tuple[str, ...] = ()
    """One column at most: the type of the question."""
    most: int = 3129
    names: tuple[str, ...] | None = None

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if len(self.also) > 1 or self.most < 2:
            raise ConfigError(
                106,
                f"also = {self.also}, most = {self.most}",
                where=f"targets of '{self.column}'",
                fix="one column of types at most, and two answers at least",
            )

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for a row without an answer, and for what is none."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> tuple[str | None, tuple[str, ...]]:
        """The type of a row's question, and its normalised answers."""
        kind = None
        if self.also:
            cell, kind = cell
            kind = (key_of(kind) or "").strip()
            if not kind:
                raise DataError(
                    530,
                    "the question has no type",
                    where=place.where(self.also[0]),
                    fix="fill the column, or do not name it in `also`",
                )
        cells = list(cell) if isinstance(cell, (list, tuple, np.ndarray)) else [cell]
        where = place.where(self.column)
        if not cells or any(one is None or one != one for one in cells):
            raise DataError(
                530, "the row has no answer", where=where, fix="answer it, or leave the row out"
            )
        for one in cells:
            if isinstance(one, (list, tuple, dict, np.ndarray)):
                raise DataError(
                    531,
                    f"'{shown(one)}' is no answer",
                    where=where,
                    fix="give text, or a list of it",
                )
        return kind, tuple(normalise_answer(str(key_of(one))) for one in cells)

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> AnswersProcessor:
        """The vocabulary, the types, and how many annotators a row has at most."""
        counts: Counter[str] = Counter()
        kinds: set[str] = set()
        annotators = 1
        for row in rows.tolist():
            cell = cell_of(table, columns_of(self), row)
            kind, answers = self.of(cell, Place(table, row))
            counts[commonest(answers)] += 1
            annotators = max(annotators, len(answers))
            kinds.update(() if kind is None else (kind,))
        if self.names is None:
            names = sorted(counts, key=lambda name: (-counts[name], name))[: self.most]
        else:
            names = list(dict.fromkeys(map(normalise_answer, self.names)))
        if len(names) < 2:
            raise DataError(
                532,
                f"'{self.column}' has {len(names)} answers in the training rows",
                where=table.name,
                fix="give at least two answers",
            )
        return AnswersProcessor(
            self, names, [counts[name] for name in names], sorted(kinds), annotators
        )

    def load(self, folder: Path) -> AnswersProcessor:
        """What `AnswersProcessor.save` wrote."""
        stored = read_json(folder / "answers.json")
        return AnswersProcessor(
            self, stored["names"], stored["counts"], stored["types"], stored["annotators"]
        )


class AnswersProcessor:
    """Facts: `num_answers`, `answer_names` and `answer_counts` (training rows whose commonest
    answer it is), `type_names`, and `annotators`, the most that a row has.
    """

    def __init__(
        self,
        settings: Answers,
        names: Sequence[str],
        counts: Sequence[int],
        types: Sequence[str],
        annotators: int,
    ):
        self._settings = settings
        self._ids = {name: i for i, name in enumerate(names)}
        self._types = {name: i for i, name in enumerate(types)}
        self._annotators = annotators
        self.facts: dict[str, Any] = {
            "num_answers": len(names),
            "answer_names": tuple(names),
            "answer_counts": tuple(counts),
            "type_names": tuple(types),
            "annotators": annotators,
        }

    def save(self, folder: Path) -> None:
        """`answers.json`: answers and counts in the order of their ids, types, annotators."""
        values = {
            "names": list(self._ids),
            "counts": list(self.facts["answer_counts"]),
            "types": list(self._types),
            "annotators": self._annotators,
        }
        write_json(folder / "answers.json", values)

    def encode(self, cell: Any, place: Place) -> Int[np.ndarray, "n"]:
        """int32. Raises DataError for an unknown type, and for more annotators than in training."""
        kind, answers = self._settings.of(cell, place)
        if kind is not None and kind not in self._types:
            raise DataError(
                531,
                f"unknown type '{shown(kind)}'",
                where=place.where(self._settings.also[0]),
                fix=nearest(kind, self._types),
            )
        if len(answers) > self._annotators:
            raise DataError(
                531,
                f"{len(answers)} answers, where training rows have {self._annotators} at most",
                where=place.where(self._settings.column),
                fix=f"give {self._annotators} answers or fewer",
            )
        ids = [self._ids.get(answer, UNKNOWN) for answer in (commonest(answers), *answers)]
        ids += [NOBODY] * (self._annotators - len(answers))
        return np.array([self._types[kind] if kind is not None else 0, *ids], np.int32)

    def collate(self, values: Sequence[Int[np.ndarray, "n"] | None]) -> Int[np.ndarray, "b n"]:
        """int32; of a padding row NOBODY."""
        batch = np.full((len(values), 2 + self._annotators), NOBODY, np.int32)
        batch[:, 0] = 0
        for row, value in enumerate(values):
            if value is not None:
                batch[row] = value
        return batch
