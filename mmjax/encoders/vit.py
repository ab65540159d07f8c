"""The vision transformer."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Float
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense, parameter
from mmjax.nn.patches import PatchEmbed
from mmjax.nn.pooling import masked_mean


class ViT(TransformerEncoder, kw_only=True):
    """ViT (Dosovitskiy et al. 2021): patches, a class token, learned positions, pre-norm blocks.

    Its parameters are those of transformers' `ViTModel`, one for one. `pooled` is the class token
    after the final norm; with `pooling="pooler"` the tanh of a dense layer on it, as in `ViTModel`;
    with `"mean"` the mean of the patches.
    """

    image_size: int = fact()
    patch: int = 4
    depth: int = 4
    eps: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0
    pooling: Literal["cls", "pooler", "mean"] = "cls"

    @nn.compact
    def __call__(self, pixel_values: Float[ArrayLike, "b h w c"], *, train: bool) -> Tokens:
        types = self.types()
        values = PatchEmbed(patch=self.patch, width=self.width, name="patches", **types)(
            jnp.asarray(pixel_values, self.dtype)
        )
        batch, patches, _ = values.shape

        def learned(name: str, count: int) -> Array:
            shape, axes = (1, count, self.width), (None, "tokens", "embed")
            init = nn.initializers.normal(0.02)
            return parameter(self, name, shape, axes, init=init, **types)

        first = jnp.broadcast_to(learned("class_token", 1), (batch, 1, self.width))
        values = jnp.concatenate([first, values], axis=1) + learned("positions", patches + 1)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        mask = jnp.ones(values.shape[:2], bool)
        values = self.transformer()(values, mask, train=train)
        if self.pooling == "mean":
            return Tokens(values, mask, masked_mean(values[:, 1:], mask[:, 1:]))
        pooled = values[:, 0]
        if self.pooling == "pooler":
            pooled = jnp.tanh(
                dense(self.width, ("embed", "joined"), name="pooler", **types)(pooled)
            )
        return Tokens(values, mask, pooled)


class ViTBase(ViT, kw_only=True):
    """`vit-base-patch16`: 12 layers of width 768 over 16 x 16 patches."""

    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    scan: bool = True
