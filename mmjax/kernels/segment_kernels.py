"""Pallas kernels of attention over segments: forward, dQ, and dK with dV of one segment.

One body serves Mosaic on TPU, Triton on CUDA and the interpreter. A program has a block of the
queries of one row and head, and walks over the blocks of each segment in turn with one running
softmax (Milakov and Gimelshein 2018; FlashAttention-2, Dao 2023), up to the row's last valid block:
an absent or short modality costs nothing. The backward pass computes the probabilities again from
the log-sum-exp (FlashAttention-2, algorithm 2).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

MASKED = -1e30
"""Finite, so that the running maximum of a row without a key stays free of NaN."""


def forward_kernel(stops, q_ref, *refs, keys, scale):
    *segments, out_ref, lse_ref = refs
    q = q_ref[...]

    def step(refs, block, index, carry):
        highest, total, acc = carry
        k, v, valid = _block(refs, index, block)
        logits = jnp.where(valid, _dot_t(q, k) * scale, MASKED)
        new = jnp.maximum(highest, jnp.max(logits, axis=1, keepdims=True))
        p = jnp.where(valid, jnp.exp(logits - new), 0.0)
        shrink = jnp.exp(highest - new)
        total = total * shrink + jnp.sum(p, axis=1, keepdims=True)
        return new, total, acc * shrink + _dot(p.astype(v.dtype), v)

    rows = (q.shape[0], 1)
    start = (
        jnp.full(rows, MASKED, jnp.float32),
        jnp.zeros(rows, jnp.float32),
        jnp.zeros(q.shape, jnp.float32),
    )
    highest, total, acc = _walk(stops, segments, keys, step, start)
    some = total > 0
    total = jnp.where(some, total, 1.0)
    out_ref[...] = (acc / total).astype(out_ref.dtype)
    lse_ref[...] = jnp.where(some, highest + jnp.log(total), 0.0)


def dq_kernel(stops, q_ref, cotangent_ref, lse_ref, delta_ref, *refs, keys, scale):
    *segments, dq_ref = refs
    q, cotangent, lse, delta = (one[...] for one in (q_ref, cotangent_ref, lse_ref, delta_ref))

    def step(refs, block, index, dq):
        k, v, valid = _block(refs, index, block)
        _, ds = _probabilities(q, k, v, valid, cotangent, lse, delta, scale)
        return dq + _dot(ds.astype(k.dtype), k)

    dq = _walk(stops, segments, keys, step, jnp.zeros(q.shape, jnp.float32))
    dq_ref[...] = (dq * scale).astype(dq_ref.dtype)


def dkv_kernel(stops, *refs, segment, queries, scale):
    *of_queries, k_ref, v_ref, valid_ref, dk_ref, dv_ref = refs
    k, v, valid = k_ref[...], v_ref[...], valid_ref[...] != 0

    def step(index, carry):
        dk, dv = carry
        at = _at(index, queries)
        q, cotangent, lse, delta = (one[at, :] for one in of_queries)
        p, ds = _probabilities(q, k, v, valid, cotangent, lse, delta, scale)
        dv = dv + _dot(p.astype(cotangent.dtype).T, cotangent)
        return dk + _dot(ds.astype(q.dtype).T, q), dv

    reached = pl.program_id(2) < stops[pl.program_id(0), segment]
    count = reached.astype(jnp.int32) * (of_queries[0].shape[0] // queries)
    zeros = jnp.zeros(k.shape, jnp.float32)
    dk, dv = jax.lax.fori_loop(0, count, step, (zeros, zeros))
    dk_ref[...] = (dk * scale).astype(dk_ref.dtype)
    dv_ref[...] = dv.astype(dv_ref.dtype)


def _walk(stops, refs, blocks, step, carry):
    """Over the blocks of each segment, up to the row's last valid one."""
    count = len(blocks)
    row = pl.program_id(0)
    for index, block in enumerate(blocks):
        own = refs[index], refs[count + index], refs[2 * count + index]
        body = functools.partial(step, own, block)
        carry = jax.lax.fori_loop(0, stops[row, index], body, carry)
    return carry


def _block(refs, index, block):
    """Keys, values and validity of one block."""
    k_ref, v_ref, valid_ref = refs
    at = _at(index, block)
    return k_ref[at, :], v_ref[at, :], valid_ref[:, at] != 0


def _probabilities(q, k, v, valid, cotangent, lse, delta, scale):
    """The probabilities of a block, and the gradient by its logits."""
    p = jnp.where(valid, jnp.exp(_dot_t(q, k) * scale - lse), 0.0)
    return p, jnp.where(valid, p * (_dot_t(cotangent, v) - delta), 0.0)


def _at(index, block: int):
    return pl.ds(pl.multiple_of(index * block, block), block)


def _dot(a, b):
    return jax.lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)


def _dot_t(a, b):
    return jax.lax.dot_general(a, b, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
