"""Several sources as one, taking turns in training by their weights."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.data.config import SourceSpec
from mmjax.data.config import sources as registry
from mmjax.data.sources.shards import LazyColumn
from mmjax.data.table import Mixture as TableMixture
from mmjax.data.table import Part, Table
from mmjax.data.turns import Turns

logger = logging.getLogger(__name__)

PART = "__source__"
"""The column of the parts' names."""


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The rows of several sources, one source after another.

    In training each has its share of the examples by `weights`, whatever its number of rows: not by
    chance but by turns, so that after any number of examples each has had its exact share up to
    less than the number of sources. A source is shuffled as it would be alone and begins again when
    all its rows were seen; so a small one is seen more often. Whose turn it is and which row it
    takes are functions of the example's number: a run resumes exactly. Evaluation sees each row
    once, in order.

    The columns are those of all, None where a source has no such column: a modality that a source
    lacks is missing in its rows. `__source__` is the name of each row's. Paths of media are
    relative to the root of their own source. If a source knows its splits, rows of those that do
    not are training rows.
    """

    sources: Mapping[str, SourceSpec]
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By name, in any unit; the number of rows, so that each row is seen equally often, if none."""
    epoch: Literal["first", "all"] = "all"
    """Whether an epoch ends when the first source was seen whole, or when all were."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError(103, "a mixture needs sources", where="source mixture")
        for name in self.weights:
            if name not in self.sources:
                raise ConfigError(
                    101,
                    f"weights name no source '{name}'",
                    where="source mixture",
                    fix=nearest(name, self.sources),
                )
        if self.weights and len(self.weights) < len(self.sources):
            missing = next(name for name in self.sources if name not in self.weights)
            raise ConfigError(
                103, f"'{missing}' has no weight", where="source mixture", fix="give all, or none"
            )
        if self.weights:
            Turns.of(list(self.weights.values()))

    def read(self) -> Table:
        """All sources as one table."""
        tables = {name: registry.build(spec).read() for name, spec in self.sources.items()}
        parts, start = [], 0
        for name, table in tables.items():
            weight = float(self.weights.get(name, len(table)))
            parts.append(Part(name, start, start + len(table), weight, table))
            start += len(table)
        names = dict.fromkeys(itertools.chain.from_iterable(t.columns for t in tables.values()))
        starts = [part.start for part in parts]
        columns: dict[str, Sequence[Any]] = {
            name: _Joined([t.columns.get(name) for t in tables.values()], starts, start)
            for name in names
        }
        columns[PART] = LazyColumn(start, _name_at, starts, [part.name for part in parts])
        told = [(part.name, part.weight, part.table.fingerprint) for part in parts]
        return Table(
            columns=columns,
            name=f"mixture of {', '.join(tables)}",
            fingerprint=hashlib.sha256(repr((told, self.epoch)).encode()).hexdigest(),
            bad=tuple(bad for table in tables.values() for bad in table.bad),
            splits=_splits(parts),
            lazy=any(table.lazy for table in tables.values()),
            mixture=TableMixture(tuple(parts), self.epoch),
        )


class _Joined(Sequence):
    """Columns of several tables, one after another; None for the rows of those without it."""

    def __init__(self, columns: Sequence[Sequence[Any] | None], starts: Sequence[int], rows: int):
        self._columns, self._starts, self._rows = columns, starts, rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(self._rows)[index]]
        row = range(self._rows)[int(index)]
        part = bisect.bisect_right(self._starts, row) - 1
        column = self._columns[part]
        return None if column is None else column[row - self._starts[part]]

    def __iter__(self) -> Iterator[Any]:
        ends = [*self._starts[1:], self._rows]
        for column, start, end in zip(self._columns, self._starts, ends, strict=True):
            yield from itertools.repeat(None, end - start) if column is None else column


def _name_at(row: int, starts: Sequence[int], names: Sequence[str]) -> str:
    return names[bisect.bisect_right(starts, row) - 1]


def _splits(parts: Sequence[Part]) -> dict[str, np.ndarray] | None:
    if all(part.table.splits is None for part in parts):
        return None
    found: dict[str, list[np.ndarray]] = {}
    for part in parts:
        own = part.table.splits
        if own is None:
            logger.info("all rows of '%s', which has no splits, train", part.name)
            own = {"train": np.arange(part.stop - part.start)}
        for name, rows in own.items():
            found.setdefault(name, []).append(rows + part.start)
    return {name: np.concatenate(rows) for name, rows in found.items()}
