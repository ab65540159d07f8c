"""Summaries of tokens under a mask. A row without a valid token gives 0."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float


def masked_mean(values: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The mean of the valid tokens, summed in float32."""
    weights = mask.astype(jnp.float32)[..., None]
    total = jnp.sum(jnp.where(mask[..., None], values, 0).astype(jnp.float32), axis=1)
    return (total / jnp.maximum(weights.sum(axis=1), 1.0)).astype(values.dtype)


def masked_max(values: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The largest value of each channel among the valid tokens."""
    lowest = jnp.finfo(values.dtype).min
    highest = max_over(jnp.where(mask[..., None], values, lowest), axis=1)
    return jnp.where(mask.any(axis=1)[:, None], highest, 0)


Pooling = Literal["mean", "max", "last"]


def pool(values: Float[Array, "b n d"], mask: Bool[Array, "b n"], how: Pooling) -> Array:
    """One of `masked_mean`, `masked_max` and `last_valid`."""
    return {"mean": masked_mean, "max": masked_max, "last": last_valid}[how](values, mask)


def last_valid(values: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Float[Array, "b d"]:
    """The last valid token."""
    last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    found = jnp.take_along_axis(values, last[:, None, None], axis=1)[:, 0]
    return jnp.where(mask.any(axis=1)[:, None], found, 0)


def max_over(values: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The maximum along one axis; its gradient goes to the first position that has it.

    The gradient of `jnp.max` finds that position again by equality, which divides by 0 where XLA
    computes `values` a second time with another rounding (jax issues 13600 and 40564).
    """
    first = jnp.argmax(values, axis=axis, keepdims=True)
    chosen = jax.lax.broadcasted_iota(first.dtype, values.shape, axis % values.ndim) == first
    return jnp.sum(jnp.where(chosen, values, 0), axis=axis)
