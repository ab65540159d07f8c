"""Products that accumulate in float32, forward and backward."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Float
from mmjax.kernels.platforms import platform_dependent


def product(formula: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """`jnp.einsum(formula, a, b)` in float32 (or wider, as the operands), such as "bnd,de->bne".

    Operands of 16 bits are multiplied as they are and summed in float32, which processors with
    native bfloat16 do at twice the speed; so are the products of the gradient, for which the
    cotangent is rounded to the operands' type. Left to itself, XLA widens the operands, and on CPU
    cannot run every product of mixed types.
    """
    if a.dtype != b.dtype or a.dtype.itemsize >= 4:
        return jnp.einsum(formula, a, b)
    return _narrow(formula, a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow(formula: str, a: Array, b: Array) -> Array:
    return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32)


def _forward(formula, a, b):
    return _narrow(formula, a, b), (a, b)


def _backward(formula, saved, cotangent):
    return _pull(formula, saved, cotangent.astype(saved[0].dtype))


_narrow.defvjp(_forward, _backward)


Dimensions = tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[int, ...], tuple[int, ...]]]


def dot_general(
    inputs: Float[Array, "..."],
    kernel: Float[Array, "..."],
    dimensions: Dimensions,
    **options: Any,
) -> Float[Array, "..."]:
    """`jax.lax.dot_general` as one product of two matrices, in the type of `inputs`.

    For a dense layer: the last axes of `inputs` with the first of `kernel`. Written so, its
    backward products are of matrices too; those of several axes cost a CPU a third more time
    (measured for the projections of attention). Sums are in float32. Other dimensions and options
    go to `jax.lax.dot_general`.
    """
    (contracted, kernel_axes), batch = dimensions
    count = len(contracted)
    last = tuple(range(inputs.ndim - count, inputs.ndim))
    plain = tuple(contracted) == last and tuple(kernel_axes) == tuple(range(count))
    if not plain or any(batch) or any(one is not None for one in options.values()):
        return jax.lax.dot_general(inputs, kernel, dimensions, **options)
    kept, features = inputs.shape[:-count], kernel.shape[count:]
    size = math.prod(kernel.shape[:count])
    found = _rounded(inputs.reshape(-1, size), kernel.reshape(size, -1))
    return found.astype(inputs.dtype).reshape(*kept, *features)


def _rounded(a: Array, b: Array) -> Array:
    if a.dtype != b.dtype or a.dtype.itemsize >= 4:
        return product("nd,de->ne", a, b)
    return _rounded_product("nd,de->ne", a, b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rounded_product(formula: str, a: Array, b: Array) -> Array:
    """`product`, rounded to the operands' type.

    The matrix units of accelerators sum in float32 whatever they return; asked for float32, a GPU
    writes it to memory and reads it again to round it.
    """

    def wide(a: Array, b: Array) -> Array:
        return jnp.einsum(formula, a, b, preferred_element_type=jnp.float32).astype(a.dtype)

    return platform_dependent(a, b, cpu=wide, default=functools.partial(jnp.einsum, formula))


def _save(formula, a, b):
    return _rounded_product(formula, a, b), (a, b)


def _pull(formula, saved, cotangent):
    a, b = saved
    operands, result = formula.split("->")
    of_a, of_b = operands.split(",")
    return (
        _rounded_product(f"{result},{of_b}->{of_a}", cotangent, b),
        _rounded_product(f"{of_a},{result}->{of_b}", a, cotangent),
    )


_rounded_product.defvjp(_save, _pull)
