"""A text transformer in the shape of BERT."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense, embedding
from mmjax.nn.norms import layer_norm
from mmjax.nn.packing import packed_mask
from mmjax.nn.pooling import masked_mean
from mmjax.nn.transformer import Norm

Positions = Literal["absolute", "after_padding", "none"]


class TextTransformer(TransformerEncoder, kw_only=True):
    """BERT's encoder (Devlin et al. 2019): word, position and segment embeddings, then blocks.

    With the defaults of `norm`, `activation`, `eps` and `pooling` its parameters are those of
    transformers' `BertModel`, one for one. `positions="after_padding"` counts the tokens other than
    `padding_id` from `padding_id + 1` on, as RoBERTa (Liu et al. 2019) does. `segments=0` is
    without segment embeddings (DistilBERT); `tasks` adds those of `task_type_ids` (ERNIE 2.0).
    Word vectors are multiplied by `words_scale`. With an `embedding_width`, embeddings of that
    width are projected to `width` (ELECTRA). `embeddings_norm=None` means where `norm` is "post".
    `pooling="cls"` is BERT's pooler (tanh of a dense layer on the first token), `"mean"` the masked
    mean. With `segment_ids`, a row holds several texts, none of which sees another (`nn.packing`).
    More tokens than `longest` (or `max_length`, as far as there are positions) raise ConfigError.
    """

    vocab_size: int = fact()
    max_length: int = fact()
    positions: Positions = "absolute"
    padding_id: int = 0
    segments: int = 2
    tasks: int = 0
    words_scale: float = 1.0
    longest: int | None = None
    embedding_width: int | None = None
    embeddings_norm: bool | None = None
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
        task_type_ids: Int[ArrayLike, "b n"] | None = None,
        segment_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        self._check_length(input_ids.shape[1])
        types = self.types()
        mask = jnp.asarray(attention_mask, bool)
        if position_ids is None and self.positions == "after_padding":
            position_ids = positions_after_padding(input_ids, self.padding_id)
        elif position_ids is None:
            position_ids = jnp.arange(input_ids.shape[1])[None]
        width = self.embedding_width or self.width

        def table(count: int, name: str, ids: ArrayLike) -> Float[ArrayLike, "b n d"]:
            axes = ("vocab" if name == "words" else "tokens", "embed")
            return embedding(count, width, axes=axes, name=name, **types)(ids)

        values = table(self.vocab_size, "words", input_ids)
        if self.words_scale != 1.0:
            values = values * jnp.asarray(self.words_scale, values.dtype)
        if self.positions != "none":
            values = values + table(self.max_length, "positions", position_ids)
        if self.segments:
            if token_type_ids is None:
                token_type_ids = jnp.zeros_like(input_ids)
            values = values + table(self.segments, "segments", token_type_ids)
        if self.tasks:
            if task_type_ids is None:
                task_type_ids = jnp.zeros_like(input_ids)
            values = values + table(self.tasks, "tasks", task_type_ids)
        has_norm = self.norm == "post" if self.embeddings_norm is None else self.embeddings_norm
        if has_norm:
            values = layer_norm(name="embeddings_norm", eps=self.eps, **types)(values)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        if self.embedding_width is not None:
            values = dense(self.width, ("embed", "joined"), name="projection", **types)(values)
        seen = mask if segment_ids is None else self._packed(segment_ids)
        values = self.blocks(values, seen, train=train)
        if self.pooling == "mean":
            return Tokens(values, mask, masked_mean(values, mask))
        first = dense(self.width, ("embed", "joined"), name="pooler", **types)(values[:, 0])
        return Tokens(values, mask, jnp.tanh(first))

    def _packed(self, segment_ids: Int[ArrayLike, "b n"]) -> Bool[Array, "b 1 n n"]:
        if type(self).blocks is not TextTransformer.blocks:
            raise ConfigError(
                109,
                f"{type(self).__name__} does not keep the texts of a packed row apart",
                fix="use 'text_transformer' or 'causal_encoder', or a row for each text",
            )
        return packed_mask(segment_ids)

    def blocks(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | Bool[Array, "#b #k #n n"],
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """Embeddings through the blocks; called in a compact method."""
        return self.transformer()(values, mask, train=train)

    def _check_length(self, length: int) -> None:
        limits = [] if self.longest is None else [self.longest]
        if self.positions == "absolute":
            limits.append(self.max_length)
        elif self.positions == "after_padding":
            limits.append(self.max_length - self.padding_id - 1)
        if limits and length > min(limits):
            raise ConfigError(
                109,
                f"{length} tokens are more than the {min(limits)} that this encoder takes",
                fix="cut them, or take a model for longer texts",
            )


def positions_after_padding(input_ids: Int[ArrayLike, "b n"], padding_id: int) -> Int[Array, "b n"]:
    """`padding_id + 1, + 2, ...` over the tokens that are not padding, `padding_id` where they are.

    transformers' `create_position_ids_from_input_ids`.
    """
    real = (jnp.asarray(input_ids) != padding_id).astype(jnp.int32)
    return jnp.cumsum(real, axis=1) * real + padding_id


class BertBase(TextTransformer, kw_only=True):
    """`bert-base`: 12 layers of width 768."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    scan: bool = True
