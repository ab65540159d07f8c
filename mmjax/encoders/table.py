"""A table row: one token a column."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.nn.dense import Initializer, embedding, fan_in, parameter
from mmjax.nn.pooling import masked_mean
from mmjax.nn.transformer import Transformer


class TableEncoder(nn.Module, kw_only=True):
    """The feature tokeniser of FT-Transformer (Gorishniy et al. 2021), then `depth` blocks.

    A number becomes its value times a learned vector plus a learned bias; a category, a row of an
    embedding table that all columns share, each at its own offset. A missing number is its bias
    vector alone, plus a learned vector that says so.
    """

    numbers: int = fact(0)
    cardinalities: tuple[int, ...] = fact(())
    width: int = 64
    depth: int = 1
    heads: int = 4
    mlp_dim: int = 128
    dropout: float = 0.1
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(
        self,
        numbers: Float[ArrayLike, "b numbers"] | None = None,
        number_mask: Bool[ArrayLike, "b numbers"] | None = None,
        categories: Int[ArrayLike, "b categories"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        tokens = []
        if self.numbers and numbers is not None:
            tokens.append(self._number_tokens(numbers, number_mask))
        if self.cardinalities and categories is not None:
            offsets = jnp.cumsum(jnp.array((0, *self.cardinalities[:-1])))
            count = sum(self.cardinalities)
            tokens.append(
                embedding(count, self.width, name="categories", **types)(categories + offsets)
            )
        values = jnp.concatenate(tokens, axis=1)
        mask = jnp.ones(values.shape[:2], bool)
        if self.depth:
            values = Transformer(
                depth=self.depth,
                heads=self.heads,
                mlp_dim=self.mlp_dim,
                dropout=self.dropout,
                name="transformer",
                **types,
            )(values, mask, train=train)
        return Tokens(values, mask, masked_mean(values, mask))

    def _number_tokens(self, numbers: ArrayLike, number_mask: ArrayLike | None) -> Array:
        def vectors(name: str, init: Initializer) -> Array:
            types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
            shape = (self.numbers, self.width)
            return parameter(self, name, shape, ("features", "embed"), init=init, **types)

        kernel = vectors("number_kernel", fan_in)
        bias = vectors("number_bias", nn.initializers.normal(0.02))
        missing = vectors("number_missing", nn.initializers.normal(0.02))
        if number_mask is None:
            return jnp.asarray(numbers, self.dtype)[..., None] * kernel + bias
        known = jnp.where(number_mask, numbers, 0).astype(self.dtype)[..., None]
        return known * kernel + bias + jnp.where(number_mask[..., None], 0, missing)
