"""From the fields of one modality to its tokens, and what is hidden of them."""

from __future__ import annotations

from collections.abc import Mapping

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float


def hide(tokens: Tokens, keep: Bool[Array, "b"]) -> Tokens:
    """The tokens with the rows that are not kept made absent."""
    return Tokens(
        tokens.values,
        tokens.mask & keep[:, None],
        jnp.where(keep[:, None], tokens.pooled, 0),
    )


def encode_views(encoder: nn.Module, fields: Mapping[str, ArrayLike], *, train: bool) -> Tokens:
    """The tokens of a modality, several pictures `b v h w c` of one thing taken together.

    Their tokens follow each other, and `pooled` is the mean of theirs. Pictures with a `frame_mask`
    are a video, which its encoder takes whole.
    """
    pixels = fields.get("pixel_values")
    if pixels is None or pixels.ndim == 4 or "frame_mask" in fields:
        return encoder(**fields, train=train)
    views = pixels.shape[1]
    flat = encoder(pixel_values=einops.rearrange(pixels, "b v ... -> (b v) ..."), train=train)
    return Tokens(
        einops.rearrange(flat.values, "(b v) n d -> b (v n) d", v=views),
        einops.rearrange(flat.mask, "(b v) n -> b (v n)", v=views),
        einops.reduce(flat.pooled, "(b v) d -> b d", "mean", v=views),
    )


def drop(values: Float[Array, "b d"], key: Array, rate: float) -> Float[Array, "b d"]:
    """Dropout (Srivastava et al. 2014): what stays is scaled up."""
    keep = jax.random.bernoulli(key, 1.0 - rate, values.shape)
    return jnp.where(keep, values / (1.0 - rate), 0)


def keep_modalities(
    key: Array, present: Bool[Array, "b modality"], rate: float
) -> Bool[Array, "b modality"]:
    """Hides each present modality with chance `rate`, but never the last one of a row.

    Where every modality would go, one of the present ones, drawn evenly, stays.
    """
    chances = jax.random.uniform(key, present.shape)
    kept = present & (chances >= rate)
    luckiest = jnp.argmax(jnp.where(present, chances, -1.0), axis=1)
    rescued = present & (jnp.arange(present.shape[1])[None] == luckiest[:, None])
    return jnp.where(kept.any(axis=1, keepdims=True), kept, rescued)
