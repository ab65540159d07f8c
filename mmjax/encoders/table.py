"""A table row: one token a column."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.nn.attention import Attention
from mmjax.nn.dense import Activation, Initializer, embedding, fan_in, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import masked_mean
from mmjax.nn.transformer import Mlp, Transformer


class TableEncoder(nn.Module, kw_only=True):
    """The feature tokeniser of FT-Transformer (Gorishniy et al. 2021), then `depth` blocks.

    A number becomes its value times a learned vector plus a learned bias; a category, a row of an
    embedding table that all columns share, each at its own offset. A missing number is its bias
    vector alone, plus a learned vector that says so. `pooling="cls"` puts a class token first,
    which `pooled` is. `gated` blocks with `activation="relu"` are the paper's ReGLU, and
    `first_norm=False` leaves out the very first norm, as the paper does.
    """

    numbers: int = fact(0)
    cardinalities: tuple[int, ...] = fact(())
    width: int = 64
    depth: int = 1
    heads: int = 4
    mlp_dim: int = 128
    activation: Activation = "gelu"
    gated: bool = False
    first_norm: bool = True
    pooling: Literal["mean", "cls"] = "mean"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    mlp_dropout: float = 0.0
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
        if self.pooling == "cls":
            init = nn.initializers.normal(0.02)
            shape, axes = (1, self.width), ("tokens", "embed")
            first = parameter(self, "class_token", shape, axes, init=init, **types)
            batch = tokens[0].shape[0]
            tokens.insert(0, jnp.broadcast_to(first, (batch, 1, self.width)))
        values = jnp.concatenate(tokens, axis=1)
        mask = jnp.ones(values.shape[:2], bool)
        depth = self.depth
        if depth and not self.first_norm:
            values, depth = self._first_block(values, mask, train), depth - 1
        if self.depth:
            values = Transformer(
                depth=depth,
                heads=self.heads,
                mlp_dim=self.mlp_dim,
                activation=self.activation,
                gated=self.gated,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                mlp_dropout=self.mlp_dropout,
                name="transformer",
                **types,
            )(values, mask, train=train)
        return Tokens(
            values, mask, values[:, 0] if self.pooling == "cls" else masked_mean(values, mask)
        )

    def _first_block(self, values: Array, mask: Array, train: bool) -> Array:
        """A block whose attention sees its input as it is."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        drop = nn.Dropout(self.dropout, deterministic=not train)
        attend = Attention(
            heads=self.heads, dropout=self.attention_dropout, name="first_attention", **types
        )
        values = values + drop(attend(values, mask=mask, train=train))
        mlp = Mlp(
            hidden=self.mlp_dim,
            activation=self.activation,
            gated=self.gated,
            dropout=self.mlp_dropout,
            name="first_mlp",
            **types,
        )
        return values + drop(mlp(layer_norm(name="first_mlp_norm", **types)(values), train=train))

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


class FTTransformer(TableEncoder, kw_only=True):
    """FT-Transformer as Gorishniy et al. (2021) have it by default (their table 12).

    Their head's ReLU on the class token belongs to the task.
    """

    width: int = 192
    depth: int = 3
    heads: int = 8
    mlp_dim: int = 256
    activation: Activation = "relu"
    gated: bool = True
    first_norm: bool = False
    pooling: Literal["mean", "cls"] = "cls"
    dropout: float = 0.0
    attention_dropout: float = 0.2
    mlp_dropout: float = 0.1
