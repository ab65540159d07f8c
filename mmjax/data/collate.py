"""Rows of a table to the arrays of one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.random.bit_generator import ISeedSequence

from mmjax.core.errors import DataError
from mmjax.core.types import Batch
from mmjax.core.typing import Int
from mmjax.data.modalities.base import Example, Place, Processor
from mmjax.data.quarantine import Quarantine, without_modality
from mmjax.data.table import Table
from mmjax.data.targets.base import TargetProcessor, cell_of

PADDING = -1
"""The row of a place in the batch that no example fills."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A modality or target as the batches see it: what processes which columns."""

    processor: Any
    columns: tuple[str, ...]


# Grain names a function in its logs by its repr, which would print the whole table.
@dataclasses.dataclass(frozen=True, repr=False)
class Collator:
    """Makes this process's part of each global batch, as nested dicts of arrays.

    The same arguments give the same arrays on every host, in every thread and process. `seed` is
    None in evaluation. `lengths` holds, for modalities that are padded to one of several lengths,
    the length of every row of the table.
    """

    table: Table
    modalities: Mapping[str, Source]
    targets: Mapping[str, Source]
    seed: int | None
    lengths: Mapping[str, Int[np.ndarray, "row"]]
    process_index: int = 0
    process_count: int = 1
    quarantine: Quarantine | None = None
    """Where rows of a lazy table go that prove bad; no other table has such rows here."""

    def __call__(self, step: int, rows: Int[np.ndarray, "b"]) -> dict[str, Any]:
        """The fields of a `Batch`, from the table rows of the whole global batch number `step`.

        A row that is quarantined now has `row_mask` False: its place in the batch stays empty,
        whatever the step and the host, so that batches are a function of the data still.
        """
        share = len(rows) // self.process_count
        start = self.process_index * share
        mine = rows[start : start + share].copy()
        bad: dict[int, DataError] = {}
        examples = {
            name: self._examples(name, source, mine, step * len(rows) + start, bad)
            for name, source in self.modalities.items()
        }
        labels = {name: self._labels(source, mine, bad) for name, source in self.targets.items()}
        if self.quarantine is not None:
            self._leave_out(self.quarantine, mine, bad, {**examples, **labels})
        inputs, present = {}, {}
        for name, source in self.modalities.items():
            length = self._length(name, source.processor, rows)
            inputs[name] = source.processor.collate(
                examples[name], length, train=self.seed is not None
            )
            present[name] = np.array([one is not None for one in examples[name]], bool)
        return {
            "inputs": inputs,
            "present": present,
            "targets": {
                name: source.processor.collate(labels[name])
                for name, source in self.targets.items()
            },
            "row_mask": mine != PADDING,
            "row": mine.astype(np.int32),
        }

    def _examples(
        self,
        name: str,
        source: Source,
        rows: Int[np.ndarray, "b"],
        first: int,
        bad: dict[int, DataError],
    ) -> list[Example | None]:
        processor: Processor = source.processor
        columns = {column: self.table.column(column) for column in source.columns}
        draws = self.seed is not None and processor.random

        def example(place: int, row: int) -> Example | None:
            rng = None
            if draws and self.seed is not None:
                rng = example_rng(self.seed, name, first + place)
            cells = {column: values[row] for column, values in columns.items()}
            return processor.example(cells, Place(self.table, row), rng)

        return self._each(rows, example, bad)

    def _labels(
        self, source: Source, rows: Int[np.ndarray, "b"], bad: dict[int, DataError]
    ) -> list[Any]:
        processor: TargetProcessor = source.processor

        def label(_: int, row: int) -> Any:
            cell = cell_of(self.table, source.columns, row)
            return processor.encode(cell, Place(self.table, row))

        return self._each(rows, label, bad)

    def _each(
        self,
        rows: Int[np.ndarray, "b"],
        make: Callable[[int, int], Any],
        bad: dict[int, DataError],
    ) -> list[Any]:
        """`make(place, row)` of each row; None for padding and for rows that are bad."""
        made = []
        for place, row in enumerate(rows.tolist()):
            one = None
            if row != PADDING and place not in bad:
                try:
                    one = make(place, row)
                except DataError as error:
                    if self.quarantine is None:
                        raise
                    bad[place] = error
            made.append(one)
        return made

    def _leave_out(
        self,
        quarantine: Quarantine,
        rows: Int[np.ndarray, "b"],
        bad: dict[int, DataError],
        made: Mapping[str, list[Any]],
    ) -> None:
        """Empties the places of bad rows, and of those that have no modality."""
        quarantine.take(int((rows != PADDING).sum()))
        for place, row in enumerate(rows.tolist()):
            if row == PADDING:
                continue
            if place not in bad and all(made[name][place] is None for name in self.modalities):
                bad[place] = without_modality(Place(self.table, row), self.modalities)
            if place in bad:
                quarantine.late(row, bad[place])
                rows[place] = PADDING
                for values in made.values():
                    values[place] = None

    def _length(self, name: str, processor: Processor, rows: Int[np.ndarray, "b"]) -> int | None:
        if name not in self.lengths:
            return None
        # Over the global batch, so that every host pads to the same length.
        longest = self.lengths[name][rows[rows != PADDING]].max(initial=0)
        return next(length for length in processor.padded_lengths if length >= longest)


def example_rng(seed: int, modality: str, index: int) -> np.random.Generator:
    """The random numbers of the `index`-th training example since step 0, for one modality.

    Each modality has a stream of its own, so that adding one changes no other's.
    """
    seeds = _Hashed(f"{seed}/{modality}/{index}".encode())
    # NumPy documents ISeedSequence here, and leaves it out of its annotation.
    return np.random.Generator(np.random.PCG64(seeds))  # type: ignore[arg-type]


class _Hashed(ISeedSequence):
    """Seeds a bit generator from a hash of a name, five times as fast as NumPy's own mixing."""

    def __init__(self, name: bytes):
        self._name = name

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        count = -(-n_words * np.dtype(dtype).itemsize // 16)
        digests = [xxhash.xxh3_128_digest(self._name, seed=i) for i in range(count)]
        return np.frombuffer(b"".join(digests), dtype)[:n_words]


def as_batch(fields: Mapping[str, Any]) -> Batch:
    """The `Batch` of a collator's fields."""
    return Batch(**fields)
