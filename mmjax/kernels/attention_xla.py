"""Attention with the logits of all queries and keys at once, for XLA on any platform."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array
from mmjax.kernels.attention_problem import MASKED, Operands, Problem
from mmjax.kernels.matmul import product


def attend(operands: Operands, problem: Problem) -> tuple[Array, Array | None]:
    """Heads first, which spares XLA a copy of every operand on CPU.

    The division is after the second product, of `n h` numbers in place of `n m`.
    """
    keys, values, mask = joined(operands)
    queries, keys, values = map(heads_first, (operands.queries * problem.scale, keys, values))
    logits = product("bknh,bkmh->bknm", queries, keys)
    if operands.bias is not None:
        logits = logits + operands.bias.astype(logits.dtype)
    weights, total = exponentials(logits, mask)
    kept = weights
    if operands.dropout_key is not None and problem.dropout_rate > 0.0:
        keep = jax.random.bernoulli(operands.dropout_key, 1.0 - problem.dropout_rate, weights.shape)
        kept = jnp.where(keep, weights / (1.0 - problem.dropout_rate), 0.0)
    output = product("bknm,bkmh->bknh", kept.astype(values.dtype), values) / total
    output = heads_first(output.astype(values.dtype))
    return output, (weights / total).astype(values.dtype) if problem.weights else None


def exponentials(logits: Array, mask: Array | None) -> tuple[Array, Array]:
    """exp(logits - their largest), 0 where masked, and their sums, 1 where there is nothing."""
    if mask is None:
        highest = logits.max(axis=-1, keepdims=True)
        weights = jnp.exp(logits - jax.lax.stop_gradient(highest))
        return weights, weights.sum(axis=-1, keepdims=True)
    logits = jnp.where(mask, logits, MASKED)
    highest = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    found = highest > MASKED
    weights = jnp.exp(logits - jnp.where(found, highest, 0.0))
    return weights, jnp.where(found, weights.sum(axis=-1, keepdims=True), 1.0)


def heads_first(one: Array) -> Array:
    return jnp.swapaxes(one, 1, 2)


def joined(operands: Operands) -> tuple[Array, Array, Array | None]:
    """The segments behind each other; one without a mask is valid throughout."""
    keys, values, masks = operands.keys, operands.values, operands.masks
    if len(keys) == 1:
        return keys[0], values[0], masks[0]
    mask = None
    if any(one is not None for one in masks):
        ones = [
            jnp.ones((1, 1, 1, key.shape[1]), bool) if one is None else one
            for key, one in zip(keys, masks, strict=True)
        ]
        shape = jnp.broadcast_shapes(*(one.shape[:-1] for one in ones))
        mask = jnp.concatenate(
            [jnp.broadcast_to(one, (*shape, one.shape[-1])) for one in ones], axis=-1
        )
    return jnp.concatenate(keys, axis=1), jnp.concatenate(values, axis=1), mask
