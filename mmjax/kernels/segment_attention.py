"""Fused attention of one modality's queries over the ragged tokens of several others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float
from mmjax.kernels import segment_pallas
from mmjax.kernels.partition import HEADS, ROWS, split_kernel
from mmjax.kernels.platforms import per_platform
from mmjax.kernels.segment_kernels import MASKED
from mmjax.kernels.segment_pallas import Platform, Segments

_VMEM = 12 * 2**20
"""Of the 16 MiB that a kernel gets by default."""


def serves(
    queries: int, keys: Sequence[int], head_dim: int, item: int, *, platform: Platform = "tpu"
) -> bool:
    """Whether the kernel takes these lengths, head dimension and bytes of a number.

    On TPU, the keys and values of one row and head, and in the backward pass its queries, must fit
    the vector memory: up to a head dimension of 128, about 9,000 keys in all beside few queries,
    3,000 queries beside few keys, or 2,000 of both in bfloat16; 4,800, 2,300 or 1,500 in float32.
    On CUDA, the head dimension is at most 128.
    """
    if platform == "cuda":
        return head_dim <= 128
    return segment_pallas.vmem_bytes(queries, tuple(keys), head_dim, item) <= _VMEM


def segment_attention(
    queries: Float[Array, "b n k h"],
    keys: Sequence[Float[Array, "b _ k h"]],
    values: Sequence[Float[Array, "b _ k h"]],
    masks: Sequence[Bool[Array, "b _"] | None],
    *,
    scale: float | None = None,
    platform: Platform | None = None,
) -> Float[Array, "b n k h"]:
    """softmax(Q [K_1; K_2; ...]^T scale) [V_1; V_2; ...], each key where its mask is True.

    Neither the concatenation nor the logits are materialised, forward or backward: a Pallas kernel
    walks over the segments with one running softmax, and the backward pass computes the
    probabilities again from the saved log-sum-exp (FlashAttention-2, Dao 2023). What a row lacks of
    a segment costs nothing. Products are of the operands' type, sums and softmax in float32. A
    query whose row has no valid key gets exactly 0, and gives no gradient.

    `scale` is 1 / sqrt(h) if None. The platform is that for which the program is lowered: Mosaic on
    TPU, Triton on CUDA; elsewhere, and where a kernel does not serve, the same formulas in XLA,
    with the logits of one segment at a time. `platform` forces the kernel of one, or "interpret".
    In a mesh context, each device works on its own rows and heads.
    """
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    kept = [
        (_heads_first(key), _heads_first(value), _valid(mask, key))
        for key, value, mask in zip(keys, values, masks, strict=True)
        if key.shape[1]
    ]
    if not kept:
        return jnp.zeros_like(queries)
    segments = Segments(*(tuple(part) for part in zip(*kept, strict=True)))
    output = _attend(scale, platform, _heads_first(queries), segments)
    return _heads_first(output)


def _heads_first(one: Array) -> Array:
    return jnp.swapaxes(one, 1, 2)


def _valid(mask: Array | None, key: Array) -> Array:
    if mask is None:
        return jnp.ones((key.shape[0], 1, key.shape[1]), jnp.int32)
    return mask.astype(jnp.int32)[:, None]


def _kernel(
    name: str, platform: Platform, queries: Array, segments: Segments, *saved: Array, scale: float
) -> Any:
    """A Pallas kernel; each device has the rows and heads that it holds."""
    operands = (queries, segments, *saved)
    leaves, structure = jax.tree.flatten(operands)
    kernel = functools.partial(getattr(segment_pallas, name), scale=scale, platform=platform)
    results = jax.eval_shape(kernel, *operands)

    def flat(*leaves: Array) -> tuple[Array, ...]:
        return tuple(jax.tree.leaves(kernel(*jax.tree.unflatten(structure, leaves))))

    whole, of_keys = "b k n h", [f"b k m{index} h" for index in range(len(segments.keys))]
    given = [whole, *of_keys, *of_keys, *(f"b o m{index}" for index in range(len(of_keys)))]
    if name == "forward":
        made = [whole, "b k n"]
    else:
        given += [whole, "b k n", whole]
        made = [whole, *of_keys, *of_keys]
    found = split_kernel(flat, given, made, leaves, {"b": ROWS, "k": HEADS})
    return jax.tree.unflatten(jax.tree.structure(results), found)


def _logits(scale: float, queries: Array, keys: Array, valid: Array) -> Array:
    found = jnp.einsum("bknh,bkmh->bknm", queries, keys, preferred_element_type=jnp.float32)
    return jnp.where(valid[:, None] != 0, found * scale, MASKED)


def _xla_forward(queries: Array, segments: Segments, *, scale: float) -> tuple[Array, Array]:
    parts = list(zip(*segments, strict=True))
    logits = [_logits(scale, queries, key, valid) for key, _, valid in parts]
    highest = functools.reduce(jnp.maximum, (one.max(axis=-1) for one in logits))
    total = jnp.zeros_like(highest)
    output = jnp.zeros(queries.shape, jnp.float32)
    for one, (_, value, valid) in zip(logits, parts, strict=True):
        p = jnp.where(valid[:, None] != 0, jnp.exp(one - highest[..., None]), 0.0)
        total = total + p.sum(axis=-1)
        output = output + _weighted("bknm,bkmh->bknh", p, value)
    some = total > 0
    total = jnp.where(some, total, 1.0)
    lse = jnp.where(some, highest + jnp.log(total), 0.0)
    return (output / total[..., None]).astype(queries.dtype), lse


def _xla_backward(queries, segments, output, lse, cotangent, *, scale):
    delta = jnp.sum(output.astype(jnp.float32) * cotangent.astype(jnp.float32), axis=-1)
    dq, dk, dv = jnp.zeros(queries.shape, jnp.float32), [], []
    for key, value, valid in zip(*segments, strict=True):
        logits = _logits(scale, queries, key, valid)
        p = jnp.where(valid[:, None] != 0, jnp.exp(logits - lse[..., None]), 0.0)
        dp = jnp.einsum("bknh,bkmh->bknm", cotangent, value, preferred_element_type=jnp.float32)
        ds = jnp.where(valid[:, None] != 0, p * (dp - delta[..., None]) * scale, 0.0)
        dq = dq + _weighted("bknm,bkmh->bknh", ds, key)
        dk.append(_weighted("bknm,bknh->bkmh", ds, queries).astype(key.dtype))
        dv.append(_weighted("bknm,bknh->bkmh", p, cotangent).astype(value.dtype))
    return dq.astype(queries.dtype), tuple(dk), tuple(dv)


def _weighted(formula: str, weights: Array, values: Array) -> Array:
    return jnp.einsum(
        formula, weights.astype(values.dtype), values, preferred_element_type=jnp.float32
    )


_FORMULAS: dict[str, Callable[..., Any]] = {"forward": _xla_forward, "backward": _xla_backward}


def _where_it_serves(
    name: str, platform: Platform, queries: Array, segments: Segments, *saved: Array, scale: float
) -> Any:
    lengths = [key.shape[2] for key in segments.keys]
    size = queries.dtype.itemsize
    if serves(queries.shape[2], lengths, queries.shape[3], size, platform=platform):
        return _kernel(name, platform, queries, segments, *saved, scale=scale)
    return _FORMULAS[name](queries, segments, *saved, scale=scale)


_LOWERED = {
    name: per_platform(
        f"segment_attention_{name}",
        formulas,
        tpu=functools.partial(_where_it_serves, name, "tpu"),
        cuda=functools.partial(_where_it_serves, name, "cuda"),
    )
    for name, formulas in _FORMULAS.items()
}


def _run(name: str, scale: float, platform: Platform | None, *operands: Any) -> Any:
    if platform is None:
        return _LOWERED[name](*operands, scale=scale)
    return _kernel(name, platform, *operands, scale=scale)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(scale: float, platform: Platform | None, queries: Array, segments: Segments) -> Array:
    return _run("forward", scale, platform, queries, segments)[0]


def _attend_forward(scale, platform, queries, segments):
    output, lse = _run("forward", scale, platform, queries, segments)
    return output, (queries, segments, output, lse)


def _attend_backward(scale, platform, saved, cotangent):
    queries, keys, values = _run("backward", scale, platform, *saved, cotangent)
    no_gradient: Any = (None,) * len(keys)
    return queries, Segments(keys, values, no_gradient)


_attend.defvjp(_attend_forward, _attend_backward)
