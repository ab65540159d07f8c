"""Attention by cuDNN's fused kernel, through `jax.nn.dot_product_attention`."""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array
from mmjax.kernels.attention_problem import Operands, Problem
from mmjax.kernels.attention_xla import joined

Implementation = Literal["cudnn", "xla"]

_IMPLEMENTATION: Implementation = "cudnn"
_TYPES = ("bfloat16", "float16")


@functools.cache
def serves(problem: Problem) -> bool:
    """16-bit operands, a head dimension that is a multiple of 8; and a GPU with cuDNN here.

    cuDNN is asked when the program is traced: a program for CUDA that is traced on a machine
    without a GPU cannot hold it, and the library's own kernel serves there.
    """
    if problem.weights or problem.dropout_rate > 0.0 or problem.dtype.name not in _TYPES:
        return False
    if problem.head_dim % 8:
        return False

    def array(tokens: int) -> jax.ShapeDtypeStruct:
        shape = (problem.rows, tokens, problem.heads, problem.head_dim)
        return jax.ShapeDtypeStruct(shape, problem.dtype)

    keys = array(sum(problem.keys))
    try:
        fused = functools.partial(_fused, _IMPLEMENTATION)
        jax.eval_shape(fused, array(problem.queries), keys, keys)
    except (RuntimeError, NotImplementedError, ValueError):
        return False
    return True


def attend(operands: Operands, problem: Problem) -> tuple[Array, None]:
    """The segments behind each other; a query without a valid key gets 0, where cuDNN has a mean.

    The cotangent of such a query is 0 too, and so is the gradient that it gives. cuDNN wants even
    lengths in training, and a mask or a bias for every query: one key that nobody sees, and one
    query that is cut off again, may be added.
    """
    keys, values, mask = joined(operands)
    queries, bias = operands.queries, operands.bias
    b, n, m = len(queries), queries.shape[1], keys.shape[1]
    queries, keys, values = (_even(one, 1) for one in (queries, keys, values))
    options: dict[str, Any] = {"scale": problem.scale}
    if bias is not None:
        options["bias"] = _even(jnp.broadcast_to(bias, (*bias.shape[:2], n, m)), 2, 3)
    if mask is not None:
        found = jnp.swapaxes(mask.any(axis=-1), 1, 2)[..., None]
        options["mask"] = _even(jnp.broadcast_to(mask, (*mask.shape[:2], n, m)), 2, 3)
    elif m % 2:
        options["key_value_seq_lengths"] = jnp.full(b, m, jnp.int32)
    output = _fused(_IMPLEMENTATION, queries, keys, values, **options)[:, :n]
    return output if mask is None else jnp.where(found, output, 0), None


def _even(one: Array, *axes: int) -> Array:
    """Zeros behind each of these axes that is of odd length."""
    return jnp.pad(one, [(0, one.shape[axis] % 2 * (axis in axes)) for axis in range(one.ndim)])


def _fused(
    implementation: Implementation, queries: Array, keys: Array, values: Array, **options: Any
) -> Array:
    return jax.nn.dot_product_attention(
        queries, keys, values, implementation=implementation, **options
    )
