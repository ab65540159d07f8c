"""A text transformer in the shape of BERT."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense, embedding
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import masked_mean
from mmjax.nn.transformer import Norm


class TextTransformer(TransformerEncoder, kw_only=True):
    """BERT's encoder (Devlin et al. 2019): word, position and segment embeddings, then blocks.

    With the defaults of `norm`, `activation`, `eps` and `pooling` its parameters are those of
    transformers' `BertModel`, one for one. `pooling="cls"` is BERT's pooler (tanh of a dense layer
    on the first token), `"mean"` the masked mean.
    """

    vocab_size: int = fact()
    max_length: int = fact()
    segments: int = 2
    norm: Norm = "post"
    eps: float = 1e-12
    pooling: Literal["cls", "mean"] = "cls"

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"],
        token_type_ids: Int[ArrayLike, "b n"] | None = None,
        position_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        mask = jnp.asarray(attention_mask, bool)
        if position_ids is None:
            position_ids = jnp.arange(input_ids.shape[1])[None]
        if token_type_ids is None:
            token_type_ids = jnp.zeros_like(input_ids)

        def table(count: int, name: str, ids: ArrayLike) -> Float[ArrayLike, "b n d"]:
            axes = ("vocab" if name == "words" else "tokens", "embed")
            return embedding(count, self.width, axes=axes, name=name, **types)(ids)

        values = (
            table(self.vocab_size, "words", input_ids)
            + table(self.max_length, "positions", position_ids)
            + table(self.segments, "segments", token_type_ids)
        )
        if self.norm == "post":
            values = layer_norm(name="embeddings_norm", eps=self.eps, **types)(values)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        values = self.transformer()(values, mask, train=train)
        if self.pooling == "mean":
            return Tokens(values, mask, masked_mean(values, mask))
        first = dense(self.width, ("embed", "joined"), name="pooler", **types)(values[:, 0])
        return Tokens(values, mask, jnp.tanh(first))


class BertBase(TextTransformer, kw_only=True):
    """`bert-base`: 12 layers of width 768."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    scan: bool = True
