"""Products of few rows with a matrix of weights, on CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Float
from mmjax.kernels.platforms import platform_dependent

_MOST_ROWS = 64


def few_rows(inputs: Float[Array, "b d"], weights: Float[Array, "d e"]) -> bool:
    """Whether `few_rows_product` takes them: float32, 2 to 64 rows, an even width."""
    rows, width = inputs.shape
    same = inputs.dtype == weights.dtype == jnp.float32
    return same and 1 < rows <= _MOST_ROWS and width % 2 == 0


@jax.custom_vjp
def few_rows_product(
    inputs: Float[Array, "b d"], weights: Float[Array, "d e"]
) -> Float[Array, "b e"]:
    """`inputs @ weights`, in a form that XLA computes faster on CPU; the product elsewhere.

    XLA's library for products (jaxlib 0.10.2) packs the weights anew at every call, which takes as
    long as multiplying them with 32 rows. As a convolution of two steps they are not packed, and in
    the backward pass, they are the left operand. `benchmarks/results/joint_embedding.md` has what
    that gains. The platform is that for which the program is lowered. There is no forward-mode
    derivative.
    """
    return platform_dependent(inputs, weights, cpu=_convolution, default=jnp.matmul)


def _convolution(inputs: Array, weights: Array) -> Array:
    (rows, width), columns = inputs.shape, weights.shape[1]
    found = jax.lax.conv_general_dilated(
        inputs.reshape(rows, 2, width // 2),
        weights.reshape(2, width // 2, columns),
        window_strides=(1,),
        padding="VALID",
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    return found.reshape(rows, columns)


def _weights_first(cotangent: Array, weights: Array) -> Array:
    """The barrier keeps XLA from turning it back into the product with transposed weights."""
    found = jax.lax.optimization_barrier(jnp.einsum("de,be->db", weights, cotangent))
    return found.T


def _save(inputs: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return few_rows_product(inputs, weights), (inputs, weights)


def _pull(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    inputs, weights = saved
    of_inputs = platform_dependent(
        cotangent,
        weights,
        cpu=_weights_first,
        default=lambda cotangent, weights: cotangent @ weights.T,
    )
    return of_inputs, inputs.T @ cotangent


few_rows_product.defvjp(_save, _pull)
