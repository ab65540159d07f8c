"""Labelled segments of time: what happens when in a video, a sound or a stream of readings."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json, write_json
from mmjax.core.typing import Float, Int
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.listed import listed
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Role

_FORM = 'give a list of {"start": 0.0, "end": 1.5, "label": "name"}, in seconds'


class Segment(NamedTuple):
    """What is called `label` from `start` to before `end`, in seconds."""

    start: float
    end: float
    label: str


@dataclasses.dataclass(frozen=True)
class Segments:
    """What happens when: the labelled segments of a row, in seconds from its beginning.

    A cell is a list of `{"start", "end", "label"}` or `[start, end, label]`, in JSON text too; with
    `step_seconds`, it may also be a list of labels, one for each step of so many seconds, of which
    None and "" mean nothing. Ends are no part of a segment. An empty list is a row without any; an
    empty cell is refused, unless `missing="none"` says that it means the same.

    Names are `names`, or those of the training rows in alphabetical order. Segments that share time
    are refused unless `overlaps="keep"`, for a task that gives several labels a step. A batch has
    float32 [b most 3]: start, end, and the position of the name, -1 where there are no more.
    """

    column: str
    names: tuple[str, ...] | None = None
    most: int = 32
    """Segments of a row at most; one with more is refused."""
    step_seconds: float | None = None
    overlaps: Literal["refuse", "keep"] = "refuse"
    missing: Literal["refuse", "none"] = "refuse"

    role: ClassVar[Role] = "value"

    def __post_init__(self) -> None:
        if self.most < 1 or (self.step_seconds is not None and not self.step_seconds > 0):
            raise ConfigError(
                106,
                f"most = {self.most}, step_seconds = {self.step_seconds}",
                where=f"targets of '{self.column}'",
                fix="room for one segment at least, and steps of more than 0 seconds",
            )

    def check(self, cell: Any, place: Place) -> None:
        """Raises DataError for what are no segments, overlapping ones and too many."""
        self.of(cell, place)

    def of(self, cell: Any, place: Place) -> list[Segment]:
        """The segments of a row in the order of their starts."""
        where = place.where(self.column)
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            if self.missing == "none":
                return []
            raise DataError(
                530,
                "the row has no segments",
                where=where,
                fix="give an empty list if it has none, or set missing=none",
            )
        found = sorted(self._read(cell, where))
        for one, other in pairwise(found):
            if self.overlaps == "refuse" and other.start < one.end:
                raise DataError(
                    531,
                    f"'{one.label}' ends at {one.end:g} s, and '{other.label}' starts at "
                    f"{other.start:g} s",
                    where=where,
                    fix="a step has one label: set overlaps=keep for a task with several",
                )
        if len(found) > self.most:
            raise DataError(
                531,
                f"the row has {len(found)} segments, and there is room for {self.most}",
                where=where,
                fix=f"set most={len(found)} or more",
            )
        return found

    def _read(self, cell: Any, where: str) -> list[Segment]:
        given = listed(cell, lambda: _no_segments(cell, where))
        plain = [one is None or isinstance(one, (str, int)) for one in given]
        if self.step_seconds is not None and given and all(plain):
            return _of_steps(given, self.step_seconds)
        return [_segment(one, where) for one in given]

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> SegmentsProcessor:
        """The names, and how many segments of the training rows have each."""
        cells = table.column(self.column)
        counts = Counter(
            one.label for row in rows.tolist() for one in self.of(cells[row], Place(table, row))
        )
        names = sorted(counts) if self.names is None else list(self.names)
        if not names:
            raise DataError(
                532,
                f"'{self.column}' has no segment in the training rows",
                where=table.name,
                fix="give some, or names",
            )
        return SegmentsProcessor(self, names, [counts[name] for name in names])

    def load(self, folder: Path) -> SegmentsProcessor:
        """What `SegmentsProcessor.save` wrote."""
        stored = read_json(folder / "segments.json")
        return SegmentsProcessor(self, stored["names"], stored["counts"])


class SegmentsProcessor:
    """Facts: `segment_names`, and `segment_counts`, the segments of the training rows of each."""

    def __init__(self, settings: Segments, names: Sequence[str], counts: Sequence[int]):
        self._settings = settings
        self._ids = {name: i for i, name in enumerate(names)}
        self.facts: dict[str, Any] = {
            "segment_names": tuple(names),
            "segment_counts": tuple(counts),
        }

    def save(self, folder: Path) -> None:
        """`segments.json`: the names in the order of their ids, and their counts."""
        names, counts = self.facts["segment_names"], self.facts["segment_counts"]
        write_json(folder / "segments.json", {"names": list(names), "counts": list(counts)})

    def encode(self, cell: Any, place: Place) -> Float[np.ndarray, "k 3"]:
        """Start, end and name of each segment. Raises DataError for an unknown name."""
        found = []
        for one in self._settings.of(cell, place):
            if one.label not in self._ids:
                raise DataError(
                    531,
                    f"unknown label '{one.label}'",
                    where=place.where(self._settings.column),
                    fix=nearest(one.label, self._ids),
                )
            found.append((one.start, one.end, self._ids[one.label]))
        return np.array(found, np.float32).reshape(-1, 3)

    def collate(
        self, values: Sequence[Float[np.ndarray, "k 3"] | None]
    ) -> Float[np.ndarray, "b m 3"]:
        """float32, -1 where there are no more segments."""
        batch = np.full((len(values), self._settings.most, 3), -1, np.float32)
        for row, own in enumerate(values):
            if own is not None:
                batch[row, : len(own)] = own
        return batch


def _of_steps(labels: Sequence[Any], seconds: float) -> list[Segment]:
    """Runs of one label, of steps that are so long."""
    names = [clean_text(key_of(one) or "").strip() for one in labels]
    edges = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
    return [
        Segment(start * seconds, end * seconds, names[start])
        for start, end in pairwise([0, *edges, len(names)])
        if names[start]
    ]


def _segment(one: Any, where: str) -> Segment:
    if isinstance(one, Mapping):
        start, end, label = (one.get(name) for name in ("start", "end", "label"))
    elif isinstance(one, (list, tuple)) and len(one) == 3:
        start, end, label = one
    else:
        raise _no_segments(one, where)
    first, last = _seconds(start), _seconds(end)
    name = clean_text(key_of(label) or "").strip()
    if first is None or last is None or not 0 <= first < last or not name:
        raise DataError(
            531,
            f"start {shown(start)}, end {shown(end)}, label {shown(label)} are no segment",
            where=where,
            fix="seconds from 0, an end after the start, and a name",
        )
    return Segment(first, last, name)


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _no_segments(cell: Any, where: str) -> DataError:
    return DataError(
        531, f"'{shown(cell)}' is no segment, nor a list of some", where=where, fix=_FORM
    )
