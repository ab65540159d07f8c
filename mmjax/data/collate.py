"""Rows of a table to the arrays of one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.random.bit_generator import ISeedSequence

from mmjax.core.types import Batch
from mmjax.core.typing import Int
from mmjax.data.modalities.base import Example, Place, Processor
from mmjax.data.table import Table
from mmjax.data.targets.base import TargetProcessor

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

    def __call__(self, step: int, rows: Int[np.ndarray, "b"]) -> dict[str, Any]:
        """The fields of a `Batch`, from the table rows of the whole global batch number `step`."""
        share = len(rows) // self.process_count
        mine = slice(self.process_index * share, (self.process_index + 1) * share)
        inputs, present = {}, {}
        for name, source in self.modalities.items():
            first = step * len(rows) + mine.start
            examples = self._examples(name, source, rows[mine], first)
            length = self._length(name, source.processor, rows)
            inputs[name] = source.processor.collate(examples, length, train=self.seed is not None)
            present[name] = np.array([example is not None for example in examples], bool)
        return {
            "inputs": inputs,
            "present": present,
            "targets": {
                name: self._targets(source, rows[mine]) for name, source in self.targets.items()
            },
            "row_mask": rows[mine] != PADDING,
            "row": rows[mine].astype(np.int32),
        }

    def _examples(
        self, name: str, source: Source, rows: Int[np.ndarray, "b"], first: int
    ) -> list[Example | None]:
        processor: Processor = source.processor
        columns = {column: self.table.column(column) for column in source.columns}
        examples: list[Example | None] = []
        for index, row in enumerate(rows.tolist(), start=first):
            if row == PADDING:
                examples.append(None)
                continue
            rng = None
            if self.seed is not None and processor.random:
                rng = example_rng(self.seed, name, index)
            cells = {column: values[row] for column, values in columns.items()}
            examples.append(processor.example(cells, Place(self.table, row), rng))
        return examples

    def _length(self, name: str, processor: Processor, rows: Int[np.ndarray, "b"]) -> int | None:
        if name not in self.lengths:
            return None
        # Over the global batch, so that every host pads to the same length.
        longest = self.lengths[name][rows[rows != PADDING]].max(initial=0)
        return next(length for length in processor.padded_lengths if length >= longest)

    def _targets(self, source: Source, rows: Int[np.ndarray, "b"]) -> np.ndarray:
        processor: TargetProcessor = source.processor
        cells = self.table.column(source.columns[0])
        values = [
            None if row == PADDING else processor.encode(cells[row], Place(self.table, row))
            for row in rows.tolist()
        ]
        return processor.collate(values)


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
