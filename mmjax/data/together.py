"""Training batches of whole groups, such as a question with all its candidates."""

from __future__ import annotations

import functools
import sys

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Int
from mmjax.data.collate import PADDING, example_rng


class Together:
    """The rows for ever, group by group in a new order each epoch; no batch divides a group.

    The groups of an epoch, shuffled by (seed, epoch), are laid end to end, and the whole is cut
    into `batches` stretches of one length: a batch is the groups that begin in its stretch, and
    `PADDING` in the places that these do not fill. The number of stretches is the least by which no
    order of the groups can overfill a batch, so it is the same in each epoch, and a batch is found
    by its number alone. Where batches hold less than three of the largest groups, they take as many
    groups each as always fit.

    Raises ConfigError where a group is larger than a batch.
    """

    def __init__(
        self,
        rows: Int[np.ndarray, "n"],
        groups: Int[np.ndarray, "n"],
        batch_size: int,
        seed: int,
    ):
        _, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        largest = int(sizes.max(initial=1))
        if largest > batch_size:
            raise ConfigError(
                112,
                f"a batch of {batch_size} rows, and {largest} rows that belong together",
                where="data.batch_size",
                fix=f"{largest} or more, or leave some of those rows out",
            )
        self._rows = rows[np.argsort(number, kind="stable")]
        self._sizes = sizes
        self._firsts = np.cumsum(sizes) - sizes
        self._batch_size = batch_size
        self._seed = seed
        self._fixed = 0
        if len(rows) <= batch_size:
            self.batches = 1
        elif batch_size >= 3 * largest:
            self.batches = -(-len(rows) // (batch_size - largest + 1))
        else:
            self._fixed = batch_size // largest
            self.batches = -(-len(sizes) // self._fixed)
        self._epoch = functools.lru_cache(maxsize=4)(self._made)

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size

    def __getitem__(self, step: int) -> Int[np.ndarray, "b"]:
        epoch, place = divmod(step, self.batches)
        order, of = self._epoch(epoch)
        mine = order[of == place]
        found = [self._rows[self._firsts[i] : self._firsts[i] + self._sizes[i]] for i in mine]
        rows = np.concatenate([*found, np.empty(0, np.int64)]).astype(np.int64)
        return np.pad(rows, (0, self._batch_size - len(rows)), constant_values=PADDING)

    def __reduce__(self) -> tuple:
        # Decoding processes are given the order; a cache cannot be.
        groups = np.repeat(np.arange(len(self._sizes)), self._sizes)
        return Together, (self._rows, groups, self._batch_size, self._seed)

    def _made(self, epoch: int) -> tuple[Int[np.ndarray, "g"], Int[np.ndarray, "g"]]:
        """The groups in the epoch's order, and the batch of each."""
        draws = example_rng(self._seed, "groups", epoch).random(len(self._sizes))
        order = np.argsort(draws, kind="stable")
        if self._fixed:
            return order, np.arange(len(order)) // self._fixed
        sizes = self._sizes[order]
        return order, (np.cumsum(sizes) - sizes) * self.batches // len(self._rows)
