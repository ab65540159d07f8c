"""Scaled dot-product attention: the one entry point."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float

_MASKED = -1e30
"""Finite, so that a row without a valid key stays free of NaN until it is zeroed."""


def attention(
    queries: Float[Array, "b n k h"],
    keys: Float[Array, "b m k h"],
    values: Float[Array, "b m k h"],
    *,
    mask: Bool[Array, "#b #k #n m"] | None = None,
    bias: Float[Array, "#b #k #n m"] | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> tuple[Float[Array, "b n k h"], Float[Array, "b k n m"]]:
    """softmax(Q K^T scale + bias) V (Vaswani et al. 2017, equation 1), and its weights.

    `mask` is True where a query may look; a query with no valid key gets exactly 0 (and zero
    weights), where `jax.nn.dot_product_attention` would return the mean of the padding. The
    softmax is in float32. `scale` is 1 / sqrt(h) if None. Dropout is applied to the weights when a
    key is given.
    """
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    logits = jnp.einsum(
        "bnkh,bmkh->bknm", queries * scale, keys, preferred_element_type=jnp.float32
    )
    if bias is not None:
        logits = logits + bias.astype(logits.dtype)
    if mask is not None:
        logits = jnp.where(mask, logits, _MASKED)
    weights = jax.nn.softmax(logits, axis=-1)
    if mask is not None:
        weights = jnp.where(mask, weights, 0.0)
    weights = weights.astype(values.dtype)
    kept = weights
    if dropout_key is not None and dropout_rate > 0.0:
        keep = jax.random.bernoulli(dropout_key, 1.0 - dropout_rate, weights.shape)
        kept = jnp.where(keep, weights / (1.0 - dropout_rate), 0.0)
    return jnp.einsum("bknm,bmkh->bnkh", kept, values), weights
