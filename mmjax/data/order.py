"""Which rows make up which global batch: random access by step, for Grain to read from."""

from __future__ import annotations

import functools
import logging
import sys

import numpy as np
import xxhash

from mmjax.core.typing import Int
from mmjax.data.bits import mixed
from mmjax.data.collate import PADDING, example_rng
from mmjax.data.table import Table
from mmjax.data.turns import Turns

logger = logging.getLogger(__name__)

_SORTED = 2**22
"""Up to so many rows an epoch's order is made by sorting, at 16 bytes a row and epoch."""
_ROUNDS = 6


class InOrder:
    """The rows in order, once; the last batch is filled up with `PADDING`."""

    def __init__(self, rows: Int[np.ndarray, "n"], batch_size: int):
        self._rows = rows
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __getitem__(self, step: int) -> Int[np.ndarray, "b"]:
        rows = self._rows[step * self._batch_size : (step + 1) * self._batch_size]
        return np.pad(rows, (0, self._batch_size - len(rows)), constant_values=PADDING)


class Shuffled:
    """The rows for ever, in a new order each epoch; batches go on over the end of an epoch.

    Epoch e is sorted by random keys that are a function of (seed, e). Grain's own shuffle does with
    less memory, but looks each index up by cycle walking: 54 us an example for 1,283 rows, 550 us
    for 100, where the rest of an example takes 130. Of more than four million rows an epoch is
    never made as a whole: `permuted` finds the places of one batch.
    """

    def __init__(self, rows: Int[np.ndarray, "n"], batch_size: int, seed: int):
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, step: int) -> Int[np.ndarray, "b"]:
        first = step * self._batch_size
        turns = np.arange(first, first + self._batch_size)
        return self._rows[_places(turns, len(self._rows), self._seed, "order")]


class Mixed:
    """Rows of several parts for ever, taking turns by their weights; each is shuffled as alone.

    The part of an example and its turn in that part are functions of the example's number, so in
    any stretch of examples each part has its share up to a few. A part begins its next epoch when
    it has been seen once, whatever the others do.
    """

    def __init__(self, table: Table, rows: Int[np.ndarray, "n"], batch_size: int, seed: int):
        self._parts, self.turns = _parts(table, rows)
        self._batch_size = batch_size
        self._seed = seed

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, step: int) -> Int[np.ndarray, "b"]:
        first = step * self._batch_size
        which, turns = self.turns.at(np.arange(first, first + self._batch_size))
        batch = np.empty(self._batch_size, np.int64)
        for i, (name, rows) in enumerate(self._parts.items()):
            mine = which == i
            batch[mine] = rows[_places(turns[mine], len(rows), self._seed, f"order/{name}")]
        return batch


def training(
    table: Table, rows: Int[np.ndarray, "n"], batch_size: int, seed: int
) -> Shuffled | Mixed:
    """The order in which the rows of a split train."""
    if table.mixture is None:
        return Shuffled(rows, batch_size, seed)
    return Mixed(table, rows, batch_size, seed)


def epoch_examples(table: Table, rows: Int[np.ndarray, "n"]) -> int:
    """Training examples of one epoch: the rows, or of a mixture what its `epoch` says."""
    if table.mixture is None:
        return len(rows)
    parts, turns = _parts(table, rows)
    ends = [turns.until(i, len(one)) for i, one in enumerate(parts.values())]
    return min(ends) if table.mixture.epoch == "first" else max(ends)


def _parts(
    table: Table, rows: Int[np.ndarray, "n"]
) -> tuple[dict[str, Int[np.ndarray, "_"]], Turns]:
    """The rows of each part that has some, and the turns of those parts."""
    assert table.mixture is not None
    found, weights = {}, []
    for part in table.mixture.parts:
        mine = rows[(rows >= part.start) & (rows < part.stop)]
        if len(mine):
            found[part.name] = mine
            weights.append(part.weight)
        else:
            logger.info("'%s' has none of these rows: the other parts share its turns", part.name)
    return found, Turns.of(weights)


def _places(
    turns: Int[np.ndarray, "n"], count: int, seed: int, stream: str
) -> Int[np.ndarray, "n"]:
    """Where, among `count` rows that are shuffled anew each epoch, the given turns fall."""
    epochs, places = np.divmod(turns, count)
    found = np.empty(len(turns), np.int64)
    for epoch in np.unique(epochs).tolist():
        mine = epochs == epoch
        if count <= _SORTED:
            found[mine] = _order(count, seed, stream, epoch)[places[mine]]
        else:
            found[mine] = permuted(places[mine], count, f"{seed}/{stream}/{epoch}")
    return found


@functools.lru_cache(maxsize=16)
def _order(count: int, seed: int, stream: str, epoch: int) -> Int[np.ndarray, "n"]:
    # Sorting raw draws keeps the order whatever future versions of NumPy do to `permutation`.
    return np.argsort(example_rng(seed, stream, epoch).random(count), kind="stable")


def permuted(indices: Int[np.ndarray, "n"], count: int, key: str) -> Int[np.ndarray, "n"]:
    """The places of some of 0 ... `count` - 1 in a permutation of all that depends on `key`.

    A Feistel network over the smallest even number of bits that holds them; what falls outside goes
    through again (cycle walking; Black and Rogaway 2002). Needs no memory but for the given ones.
    """
    half = max(1, -(-(count - 1).bit_length() // 2))
    keys = [np.uint64(xxhash.xxh3_64_intdigest(f"{key}/{i}".encode())) for i in range(_ROUNDS)]
    found = _feistel(indices.astype(np.uint64), half, keys)
    while len(outside := np.flatnonzero(found >= count)):
        found[outside] = _feistel(found[outside], half, keys)
    return found.astype(np.int64)


def _feistel(values: np.ndarray, half: int, keys: list[np.uint64]) -> np.ndarray:
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (mixed(right + key) & mask)
    return (left << bits) | right
