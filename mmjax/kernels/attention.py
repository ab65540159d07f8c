"""Scaled dot-product attention: the one entry point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float

_MASKED = -1e30
"""Finite, so that a row without a valid key stays free of NaN until it is zeroed."""

Backend = Literal["xla"]

Mask = Bool[Array, "#b #k #n m"]


def attention(
    queries: Float[Array, "b n k h"],
    keys: Float[Array, "b m k h"] | Sequence[Float[Array, "b _ k h"]],
    values: Float[Array, "b m k h"] | Sequence[Float[Array, "b _ k h"]],
    *,
    mask: Mask | Sequence[Bool[Array, "#b #k #n _"] | None] | None = None,
    bias: Float[Array, "#b #k #n m"] | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
    return_weights: bool = False,
    backend: Backend | None = None,
) -> tuple[Float[Array, "b n k h"], Float[Array, "b k n m"] | None]:
    """softmax(Q K^T scale + bias) V (Vaswani et al. 2017, equation 1).

    `keys`, `values` and `mask` may be sequences of segments, such as the tokens of several
    modalities: one softmax runs over all of their keys, as if they stood behind each other.
    `mask` is True where a query may look; a query with no valid key gets exactly 0, where
    `jax.nn.dot_product_attention` would return the mean of the padding. The softmax is in float32.
    `scale` is 1 / sqrt(h) if None. Dropout is applied to the weights when a key is given.

    The second result are the weights (before dropout, 0 where masked) if `return_weights`, else
    None: not every backend has them at any time. `backend` is chosen by platform and shape if None.
    """
    keys, values, mask = _joined(keys, values, mask)
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
    output = jnp.einsum("bknm,bmkh->bnkh", kept, values)
    return output, weights if return_weights else None


def _joined(keys, values, mask) -> tuple[Array, Array, Array | None]:
    """The segments behind each other; one without a mask is valid throughout."""
    if not isinstance(keys, Sequence):
        return keys, values, mask
    if len(keys) == 1:
        return keys[0], values[0], None if mask is None else mask[0]
    if mask is not None and any(one is not None for one in mask):
        ones = [
            jnp.ones((1, 1, 1, key.shape[1]), bool) if one is None else one
            for key, one in zip(keys, mask, strict=True)
        ]
        shape = jnp.broadcast_shapes(*(one.shape[:-1] for one in ones))
        mask = jnp.concatenate(
            [jnp.broadcast_to(one, (*shape, one.shape[-1])) for one in ones], axis=-1
        )
    else:
        mask = None
    return jnp.concatenate(keys, axis=1), jnp.concatenate(values, axis=1), mask
