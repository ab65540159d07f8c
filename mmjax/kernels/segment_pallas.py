"""How the kernels of attention over segments are called: blocks, padding, grids, memory.

Heads stand before tokens. The backward pass is one call for dQ, and one for dK and dV of each
segment.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from mmjax.core.typing import Array, Float, Int
from mmjax.kernels.segment_kernels import dkv_kernel, dq_kernel, forward_kernel

Platform = Literal["tpu", "cuda", "interpret"]

_LANES = 128
_TPU_KEYS = (512, 384, 256, 128)


class Segments(NamedTuple):
    """Keys and values of the modalities, and which of them are valid."""

    keys: tuple[Float[Array, "b k _ h"], ...]
    values: tuple[Float[Array, "b k _ h"], ...]
    valid: tuple[Int[Array, "b 1 _"], ...]
    """1 for a valid key, 0 for padding."""


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How many queries, and keys of each segment, are worked on at a time."""

    queries: int
    keys: tuple[int, ...]


def choose_blocks(platform: Platform, queries: int, keys: tuple[int, ...]) -> Blocks:
    """Block sizes from the lengths.

    TPU: up to 256 queries in steps of 16 (the sublanes of bfloat16), and the largest of 512, 384,
    256 and 128 keys that divides the segment's length, rounded up to a multiple of 128 (the lanes
    of the logits). CUDA: powers of two from 16 to 64, which Triton's matrix product wants. The
    interpreter: small, so that short arrays have several blocks.
    """
    if platform == "tpu":

        def of(length: int) -> int:
            padded = _up(length, _LANES)
            return next(block for block in _TPU_KEYS if padded % block == 0)

        return Blocks(min(256, _up(queries, 16)), tuple(map(of, keys)))
    least, most = (16, 64) if platform == "cuda" else (4, 4)

    def power(length: int) -> int:
        return max(least, min(most, _power_of_two(length)))

    return Blocks(power(queries), tuple(map(power, keys)))


def vmem_bytes(queries: int, keys: tuple[int, ...], head_dim: int, item: int) -> int:
    """What a TPU core's vector memory must hold at a time, at most, of forward and backward.

    All keys and values of one row and head (forward, dQ) or all queries and cotangents (dK, dV) are
    resident, twice, since the next ones are fetched meanwhile; the last axis fills 128 lanes.
    """
    wide = _up(head_dim, _LANES)
    block = choose_blocks("tpu", queries, keys)
    key_bytes = sum(_up(length, _LANES) * (2 * wide * item + 8 * 4) for length in keys)
    tiles = block.queries * (4 * wide + 4 * max(block.keys)) * 4
    query_bytes = _up(queries, block.queries) * (2 * wide * item + 2 * _LANES * 4)
    key_tiles = max(block.keys) * 4 * wide * 4
    return 2 * max(key_bytes, query_bytes + key_tiles) + tiles


def forward(
    queries: Float[Array, "b k n h"], segments: Segments, *, scale: float, platform: Platform
) -> tuple[Float[Array, "b k n h"], Float[Array, "b k n"]]:
    """The output, and the log-sum-exp of each query's logits (0 without a valid key)."""
    padded = _Padded(queries, segments, platform)
    b, k, n, h = padded.queries.shape
    out, lse = padded.call(
        functools.partial(forward_kernel, keys=padded.blocks.keys, scale=scale),
        [padded.queries],
        [
            jax.ShapeDtypeStruct((b, k, n, h), queries.dtype),
            jax.ShapeDtypeStruct((b, k, n, 1), jnp.float32),
        ],
    )
    length = queries.shape[2]
    return out[:, :, :length, : queries.shape[3]], lse[:, :, :length, 0]


def backward(
    queries: Float[Array, "b k n h"],
    segments: Segments,
    output: Float[Array, "b k n h"],
    lse: Float[Array, "b k n"],
    cotangent: Float[Array, "b k n h"],
    *,
    scale: float,
    platform: Platform,
) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
    """Gradients by the queries, and by the keys and the values of each segment."""
    padded = _Padded(queries, segments, platform)
    b, k, n, h = padded.queries.shape
    delta = jnp.sum(output.astype(jnp.float32) * cotangent.astype(jnp.float32), axis=-1)
    of_queries = [
        padded.queries,
        _pad(cotangent, n, h),
        _pad(lse[..., None], n, 1),
        _pad(delta[..., None], n, 1),
    ]
    (dq,) = padded.call(
        functools.partial(dq_kernel, keys=padded.blocks.keys, scale=scale),
        of_queries,
        [jax.ShapeDtypeStruct((b, k, n, h), queries.dtype)],
    )
    found = [
        padded.call_on_keys(
            functools.partial(
                dkv_kernel, segment=index, queries=padded.blocks.queries, scale=scale
            ),
            index,
            of_queries,
        )
        for index in range(len(segments.keys))
    ]
    keys, values = (
        tuple(
            grad[:, :, : one.shape[2], : one.shape[3]]
            for grad, one in zip(grads, segments.keys, strict=True)
        )
        for grads in zip(*found, strict=True)
    )
    return dq[:, :, : queries.shape[2], : queries.shape[3]], keys, values


class _Padded:
    """The operands in whole blocks, and how a kernel is called on them.

    A head dimension is padded to a power of two for Triton; Mosaic takes any that is whole.
    """

    def __init__(self, queries: Array, segments: Segments, platform: Platform):
        lengths = tuple(key.shape[2] for key in segments.keys)
        self.platform = platform
        self.blocks = choose_blocks(platform, queries.shape[2], lengths)
        head_dim = queries.shape[3]
        if platform == "cuda":
            head_dim = max(16, _power_of_two(head_dim))
        self.queries = _pad(queries, _up(queries.shape[2], self.blocks.queries), head_dim)
        padded = []
        for key, value, valid, block in zip(*segments, self.blocks.keys, strict=True):
            size = _up(key.shape[2], block)
            wide = jnp.pad(valid, ((0, 0), (0, 0), (0, size - key.shape[2])))
            key, value = (_pad(one, size, head_dim) for one in (key, value))
            padded.append((key, value, wide, _last_block(wide, block)))
        self.keys, self.values, self.valid, stops = zip(*padded, strict=True)
        self.stops = jnp.stack(stops, axis=1)

    def call(self, kernel: Any, of_queries: list[Array], out_shape: list[Any]) -> Any:
        """A program for each block of queries; it sees the whole segments."""
        b, k, n, _ = self.queries.shape
        per_block = [self._spec(one, self.blocks.queries) for one in of_queries]
        return self._call(
            kernel,
            (b, k, n // self.blocks.queries),
            [*of_queries, *self.keys, *self.values, *self.valid],
            [
                *per_block,
                *(self._spec(one) for one in [*self.keys, *self.values]),
                *(pl.BlockSpec((None, 1, one.shape[2]), _row) for one in self.valid),
            ],
            out_shape,
            [self._spec(one, self.blocks.queries) for one in out_shape],
        )

    def call_on_keys(self, kernel: Any, segment: int, of_queries: list[Array]) -> Any:
        """A program for each block of one segment's keys; it sees all queries."""
        b, k, length, _ = self.keys[segment].shape
        block = self.blocks.keys[segment]
        pair = [self.keys[segment], self.values[segment]]
        return self._call(
            kernel,
            (b, k, length // block),
            [*of_queries, *pair, self.valid[segment]],
            [
                *(self._spec(one) for one in of_queries),
                *(self._spec(one, block) for one in pair),
                pl.BlockSpec((None, 1, block), lambda row, head, i: (row, 0, i)),
            ],
            [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in pair],
            [self._spec(one, block) for one in pair],
        )

    def _spec(self, one: Any, block: int | None = None) -> pl.BlockSpec:
        """One row and head of [b k n h], whole or a block of its tokens."""
        if block is None:
            return pl.BlockSpec((None, None, *one.shape[2:]), _row_and_head)
        return pl.BlockSpec((None, None, block, one.shape[3]), _row_head_and_block)

    def _call(self, kernel, grid, operands, in_specs, out_shape, out_specs) -> Any:
        options: dict[str, Any] = {}
        stops = pl.BlockSpec()
        if self.platform == "tpu":
            from jax.experimental.pallas import tpu as pltpu

            stops = pl.BlockSpec(memory_space=pltpu.SMEM)
            options["compiler_params"] = pltpu.CompilerParams(
                dimension_semantics=("parallel", "parallel", "arbitrary")
            )
        elif self.platform == "cuda":
            from jax.experimental.pallas import triton as plgpu

            options["compiler_params"] = plgpu.CompilerParams(num_warps=4, num_stages=2)
        return pl.pallas_call(
            kernel,
            grid=grid,
            in_specs=[stops, *in_specs],
            out_specs=out_specs,
            out_shape=out_shape,
            interpret=self.platform == "interpret",
            name=kernel.func.__name__,
            **options,
        )(self.stops, *operands)


def _row(row, head, i):
    return row, 0, 0


def _row_and_head(row, head, i):
    return row, head, 0, 0


def _row_head_and_block(row, head, i):
    return row, head, i, 0


def _last_block(valid: Int[Array, "b 1 m"], block: int) -> Int[Array, "b"]:
    """How many blocks reach to the last valid key of each row."""
    places = jnp.arange(1, valid.shape[2] + 1, dtype=jnp.int32)
    return (jnp.max(valid[:, 0] * places, axis=1) + block - 1) // block


def _pad(one: Array, length: int, width: int) -> Array:
    return jnp.pad(one, ((0, 0), (0, 0), (0, length - one.shape[2]), (0, width - one.shape[3])))


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _power_of_two(length: int) -> int:
    return 2 ** math.ceil(math.log2(max(length, 1)))
