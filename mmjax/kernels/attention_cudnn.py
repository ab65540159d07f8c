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
    """16-bit operands, head dimension a multiple of 8, even lengths; and a GPU with cuDNN here.

    cuDNN is asked when the program is traced: a program for CUDA that is traced on a machine
    without a GPU cannot hold it, and the library's own kernel serves there.
    """
    length = sum(problem.keys)
    if problem.weights or problem.dropout_rate > 0.0 or problem.dtype.name not in _TYPES:
        return False
    if problem.head_dim % 8 or problem.queries % 2 or length % 2:
        return False

    def array(tokens: int) -> jax.ShapeDtypeStruct:
        shape = (problem.rows, tokens, problem.heads, problem.head_dim)
        return jax.ShapeDtypeStruct(shape, problem.dtype)

    try:
        fused = functools.partial(_fused, _IMPLEMENTATION)
        jax.eval_shape(fused, array(problem.queries), array(length), array(length))
    except (RuntimeError, NotImplementedError, ValueError):
        return False
    return True


def attend(operands: Operands, problem: Problem) -> tuple[Array, None]:
    """The segments behind each other; a query without a valid key gets 0, where cuDNN has a mean.

    The cotangent of such a query is 0 too, and so is the gradient that it gives.
    """
    keys, values, mask = joined(operands)
    options = {"bias": operands.bias, "mask": mask, "scale": problem.scale}
    output = _fused(_IMPLEMENTATION, operands.queries, keys, values, **options)
    if mask is not None:
        found = jnp.swapaxes(mask.any(axis=-1), 1, 2)[..., None]
        output = jnp.where(found, output, 0)
    return output, None


def _fused(
    implementation: Implementation, queries: Array, keys: Array, values: Array, **options: Any
) -> Array:
    return jax.nn.dot_product_attention(
        queries, keys, values, implementation=implementation, **options
    )
