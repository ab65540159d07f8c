"""A history of items: as a bag, or as a sequence that a causal transformer reads."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.attention import causal_mask
from mmjax.nn.dense import dense, embedding
from mmjax.nn.pooling import masked_mean


class ItemSequence(TransformerEncoder, kw_only=True):
    """SASRec (Kang and McAuley 2018, section III): items plus positions, causal blocks, a norm.

    A token has seen the items up to its own place; `pooled` is the last (`pooling="last"`) or the
    mean of all. With `depth=0` there are neither positions nor a norm: the bag of items, of which
    `pooled` is the mean, or with `pooling="root"` the sum over the root of their number (SVD++,
    Koren 2008). An item's vector is the row of a table of its own, or of `item_vectors`, which a
    recommender shares with the items that it ranks, projected where it is not `width` wide.
    """

    num_items: int = fact()
    max_length: int = fact(50)
    width: int = 64
    heads: int = 1
    mlp_dim: int = 64
    activation: Literal["gelu", "relu"] = "relu"
    pooling: Literal["last", "mean", "root"] = "last"
    dropout: float = 0.2
    attention_dropout: float = 0.2

    @nn.compact
    def __call__(
        self,
        item_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"],
        seen: ArrayLike | None = None,
        item_vectors: Float[Array, "items d"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        mask = jnp.asarray(attention_mask, bool)
        places = jnp.maximum(jnp.asarray(item_ids) - 1, 0)
        if item_vectors is None:
            table = embedding(self.num_items, self.width, name="items", **types)
            values = table(places)
        else:
            values = item_vectors.astype(self.dtype)[places]
            if item_vectors.shape[-1] != self.width:
                values = dense(self.width, ("joined", "embed"), name="project", **types)(values)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        if self.depth:
            axes = ("tokens", "embed")
            table = embedding(self.max_length, self.width, axes=axes, name="positions", **types)
            # As the paper's code has it: items are drawn small, and tell more than places.
            values = values * self.width**0.5 + table(jnp.arange(values.shape[1]))
            values = jnp.where(mask[..., None], drop(values), 0)
            values = self.transformer()(values, causal_mask(mask), train=train)
            values = jnp.where(mask[..., None], values, 0)
        else:
            values = jnp.where(mask[..., None], drop(values), 0)
        return Tokens(values, mask, self._pooled(values, mask))

    def _pooled(self, values: Array, mask: Array) -> Array:
        count = mask.sum(axis=1)
        if self.pooling == "mean":
            return masked_mean(values, mask)
        if self.pooling == "root":
            total = jnp.sum(jnp.where(mask[..., None], values, 0), axis=1)
            return total / jnp.sqrt(jnp.maximum(count, 1))[:, None].astype(values.dtype)
        last = jnp.maximum(count - 1, 0)[:, None, None]
        pooled = jnp.take_along_axis(values, last, axis=1)[:, 0]
        return jnp.where((count > 0)[:, None], pooled, 0)
