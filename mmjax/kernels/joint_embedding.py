"""Pooled joint embedding: the one entry point."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float
from mmjax.kernels.cosine_pooling import Backend, cosine_pooling
from mmjax.kernels.few_rows import few_rows, few_rows_product
from mmjax.kernels.matmul import product

Pool = Literal["sum", "mean", "max", "cosine"]


def joint_embedding(
    inputs: Sequence[Float[Array, "b _"]],
    weights: Sequence[Float[Array, "_ e"]],
    *,
    present: Bool[Array, "b modality"] | None = None,
    pool: Pool = "sum",
    biases: Sequence[Float[Array, "e"]] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    backend: Backend | None = None,
) -> tuple[Float[Array, "b e"], Float[Array, "b modality"] | None]:
    """pool_m(W_m x_m + b_m) over the modalities that a row has, and the coefficients applied.

    `sum` adds the projected vectors (with two or more of them, Z = W_x X + W_i I + W_a A); `mean`
    divides that by the number of present ones; `max` takes the largest of each channel, the first
    of equal ones; `cosine` weighs each vector by its agreement in direction with the mean
    direction, as `kernels.cosine_pooling` defines it, the sharper the lower `temperature`.

    `present` is True where a row has the modality (everywhere if None), columns in the order of
    `inputs`; what an absent one holds must be finite and changes nothing. A row without any gets
    exactly 0, and gives no gradient. Products are of the operands' type and summed in float32, in
    which the vectors stay until `pooled` is rounded to that type. Coefficients are in float32, 0
    where absent; `max` has none.

    `backend` and `temperature` are those of `kernels.cosine_pooling`, and matter to `cosine` alone.
    """
    dtype = jnp.result_type(*inputs, *weights)
    vectors = []
    for place, (one, weight) in enumerate(zip(inputs, weights, strict=True)):
        vector = _project(one.astype(dtype), weight.astype(dtype))
        if biases is not None:
            vector = vector + biases[place].astype(jnp.float32)
        if present is not None:
            vector = jnp.where(present[:, place : place + 1], vector, 0.0)
        vectors.append(vector)
    here = jnp.ones((len(vectors[0]), len(vectors)), bool) if present is None else present
    coefficients = None
    if pool == "max":
        pooled = _largest(vectors, here)
    elif pool == "cosine":
        columns = here.astype(jnp.float32)
        pooled, coefficients = cosine_pooling(vectors, columns, temperature, backend=backend)
    else:
        pooled = functools.reduce(jnp.add, vectors)
        coefficients = here.astype(jnp.float32)
        if pool == "mean":
            shares = 1.0 / jnp.maximum(coefficients.sum(axis=1, keepdims=True), 1.0)
            pooled, coefficients = pooled * shares, coefficients * shares
    return pooled.astype(dtype), coefficients


def _project(inputs: Array, weights: Array) -> Array:
    """In float32."""
    if few_rows(inputs, weights):
        return few_rows_product(inputs, weights)
    return product("bd,de->be", inputs, weights)


def _largest(vectors: Sequence[Array], present: Bool[Array, "b modality"]) -> Array:
    """The largest of each channel; its gradient goes to the first modality that has it.

    By selection: `jnp.max` finds the place again by equality in the backward pass, where XLA may
    have computed the vectors with another rounding, and divides by 0.
    """
    columns = [
        jnp.where(present[:, place : place + 1], one, -jnp.inf) for place, one in enumerate(vectors)
    ]
    largest = columns[0]
    for one in columns[1:]:
        largest = jnp.where((largest >= one) | jnp.isnan(largest), largest, one)
    return jnp.where(present.any(axis=1, keepdims=True), largest, 0.0)
