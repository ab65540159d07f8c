"""Labelled parts of a text."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Int
from mmjax.data.modalities.base import Place
from mmjax.data.spans import (
    Overlaps,
    Span,
    against_text,
    padded,
    read_spans,
    too_many,
    without_overlaps,
)
from mmjax.data.table import Table
from mmjax.data.targets.base import Role, cell_of, columns_of


@dataclasses.dataclass(frozen=True)
class Spans:
    """The named parts of a row's text: entities, parts of speech, answers.

    A cell is a list of `{"start", "end", "label"}` or `[start, end, label]`, in JSON text too.
    Characters are counted from 0 in the text as the table holds it, in Unicode's composed form,
    and the end is one past the last. With `text`, the column of that text, spans must lie in it,
    and what a span says in "text" must be there. An empty list is a row without any; an empty cell
    is refused, unless `missing="none"` says that it means the same.

    Names are `names`, or those of the training rows in alphabetical order. Spans that share
    characters are refused, but with `overlaps` "longest" (the longest stay, the first of equals)
    or "keep". A batch has int32 [b most 3]: start, end, and the position of the name, -1 where
    there are no more. A row with more than `most` is refused.
    """

    column: str
    text: str | None = None
    names: tuple[str, ...] | None = None
    most: int = 32
    overlaps: Overlaps = "refuse"
    missing: Literal["refuse", "none"] = "refuse"

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigError(
                106, f"most = {self.most}", where=f"targets of '{self.column}'", fix="1 or more"
            )

    @property
    def also(self) -> tuple[str, ...]:
        """The column of the text, if spans are held against it."""
        return () if self.text is None else (self.text,)

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for what are no spans, overlapping ones and too many."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> list[Span]:
        """The spans of a row in the order of their characters."""
        where = place.where(self.column)
        cell, text = against_text(cell, self.text, where, missing=self.missing, what="spans")
        spans = without_overlaps(read_spans(cell, where, text=text), self.overlaps, where)
        if len(spans) > self.most:
            raise too_many(len(spans), self.most, where, "most")
        return spans

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> SpansProcessor:
        """The names, and how many spans of the training rows have each."""
        columns = columns_of(self)
        counts = Counter(
            span.label
            for row in rows.tolist()
            for span in self.of(cell_of(table, columns, row), Place(table, row))
        )
        names = sorted(counts) if self.names is None else list(self.names)
        if not names:
            raise DataError(
                532,
                f"'{self.column}' has no span in the training rows",
                where=table.name,
                fix="give some, or names",
            )
        return SpansProcessor(self, names, [counts[name] for name in names])

    def load(self, folder: Path) -> SpansProcessor:
        """What `SpansProcessor.save` wrote."""
        stored = read_json(folder / "spans.json")
        return SpansProcessor(self, stored["names"], stored["counts"])


class SpansProcessor:
    """Facts: `span_names`, and `span_counts`, the spans of the training rows that have each."""

    def __init__(self, settings: Spans, names: Sequence[str], counts: Sequence[int]):
        self._settings = settings
        self._ids = {name: i for i, name in enumerate(names)}
        self.facts: dict[str, Any] = {
            "span_names": tuple(names),
            "span_counts": tuple(counts),
        }

    def save(self, folder: Path) -> None:
        """`spans.json`: the names in the order of their ids, and their counts."""
        names, counts = self.facts["span_names"], self.facts["span_counts"]
        write_json(folder / "spans.json", {"names": list(names), "counts": list(counts)})

    def encode(self, cell: Any, place: Place) -> Int[np.ndarray, "k 3"]:
        """Start, end and name of each span. Raises DataError for an unknown name."""
        found = []
        for span in self._settings.of(cell, place):
            if span.label not in self._ids:
                raise DataError(
                    531,
                    f"unknown label '{span.label}'",
                    where=place.where(self._settings.column),
                    fix=nearest(span.label, self._ids),
                )
            found.append((span.start, span.end, self._ids[span.label]))
        return np.array(found, np.int32).reshape(-1, 3)

    def collate(self, values: Sequence[Int[np.ndarray, "k 3"] | None]) -> Int[np.ndarray, "b m 3"]:
        """int32, -1 where there are no more spans."""
        return padded(values, self._settings.most, 3)
