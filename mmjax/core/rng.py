"""Named random streams: a key is a pure function of (seed, step, name); a resume repeats none."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import jax

from mmjax.core.typing import Array, ArrayLike

IMPLEMENTATION = "rbg"
"""XLA's own generator: it compiles and runs several times faster than threefry."""

STREAMS = ("dropout", "mask")
"""The streams that a training step hands to the modules; `params` exists only at initialisation."""


def stream(key: Array, name: str) -> Array:
    """The key of the stream `name` under `key`; independent of every other name's."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def streams(key: Array, step: int | ArrayLike, names: Iterable[str] = STREAMS) -> dict[str, Array]:
    """`{name: key}` for one step, as Linen's `rngs` argument takes it."""
    at_step = jax.random.fold_in(key, step)
    return {name: stream(at_step, name) for name in names}
