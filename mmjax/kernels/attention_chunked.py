"""Attention one row and head at a time, so that the logits of long keys stay in a CPU's cache."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array
from mmjax.kernels.attention_problem import Operands, Problem
from mmjax.kernels.attention_xla import exponentials, heads_first, joined
from mmjax.kernels.matmul import product


def serves(problem: Problem) -> bool:
    return not problem.weights and problem.dropout_rate == 0.0


def attend(operands: Operands, problem: Problem) -> tuple[Array, None]:
    """The logits are computed again in the backward pass, and never stored."""
    keys, values, mask = joined(operands)
    queries = operands.queries * problem.scale
    b, n, k, _ = queries.shape

    def pairs(one: Array) -> Array:
        one = heads_first(one)
        return one.reshape(b * k, *one.shape[2:])

    def small(one: Array | None) -> Array | None:
        """A mask or a bias as `rows heads n m` of which only what differs is held."""
        if one is None or one.shape[:2] == (1, 1):
            return None
        return jnp.broadcast_to(one, (b, k, *one.shape[2:])).reshape(b * k, *one.shape[2:])

    @jax.checkpoint
    def one_head(parts: tuple[Any, ...]) -> Array:
        query, key, value, own_mask, own_bias = parts
        logits = product("nh,mh->nm", query, key)
        if operands.bias is not None:
            added = operands.bias[0, 0] if own_bias is None else own_bias
            logits = logits + added.astype(logits.dtype)
        valid = mask[0, 0] if mask is not None and own_mask is None else own_mask
        weights, total = exponentials(logits, valid)
        output = product("nm,mh->nh", weights.astype(value.dtype), value) / total
        return output.astype(value.dtype)

    mapped = (*map(pairs, (queries, keys, values)), small(mask), small(operands.bias))
    output = jax.lax.map(one_head, mapped)
    return heads_first(output.reshape(b, k, n, -1)), None
