"""A queue of vectors of the latest examples, first in first out."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from flax import struct

from mmjax.core.typing import Array, Bool, Float, Int


@struct.dataclass
class Queue:
    """Vectors of each modality, entry by entry of the same examples (MoCo, He et al. 2020)."""

    vectors: Mapping[str, Float[Array, "k e"]]
    row: Int[Array, "k"]
    """Which example of the source an entry is."""
    next: Int[Array, ""]
    """The entry that is written next: the oldest, once all are filled."""
    filled: Int[Array, ""]
    """Entries that were written so far."""

    @property
    def valid(self) -> Bool[Array, "k"]:
        return jnp.arange(self.row.shape[0]) < self.filled


def empty_queue(size: int, widths: Mapping[str, int]) -> Queue:
    """A queue of `size` entries, none of them filled; `widths` are the vectors' by modality."""
    zero = jnp.zeros((), jnp.int32)
    vectors = {name: jnp.zeros((size, width), jnp.float32) for name, width in widths.items()}
    return Queue(vectors, jnp.full(size, -1, jnp.int32), zero, zero)


def enqueue(
    queue: Queue,
    vectors: Mapping[str, Float[Array, "b e"]],
    keep: Bool[Array, "b"],
    rows: Int[Array, "b"],
) -> Queue:
    """The queue after the rows that are to be kept, in their order; the oldest entries go.

    Of more rows than there are entries, the last ones stay.
    """
    size = queue.row.shape[0]
    if not size:
        return queue
    order = jnp.cumsum(keep) - 1
    count = keep.sum().astype(jnp.int32)
    # Entries beyond the end are dropped; no entry is written twice.
    stays = keep & (order >= count - size)
    places = jnp.where(stays, (queue.next + order) % size, size)
    return Queue(
        {
            name: own.at[places].set(vectors[name].astype(own.dtype), mode="drop")
            for name, own in queue.vectors.items()
        },
        queue.row.at[places].set(rows.astype(queue.row.dtype), mode="drop"),
        (queue.next + count) % size,
        jnp.minimum(queue.filled + count, size),
    )
