"""Summaries of tokens under a mask. A row without a valid token gives 0."""

from __future__ import annotations

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
    highest = jnp.max(jnp.where(mask[..., None], values, lowest), axis=1)
    return jnp.where(mask.any(axis=1)[:, None], highest, 0)
