"""Recurrent networks over text and over streams."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.nn.dense import embedding
from mmjax.nn.pooling import Pooling, pool
from mmjax.nn.recurrent import Cell, Recurrent
from mmjax.nn.temporal import fold_time, shorter_mask, stream_of, whole_mask, without_padding


class RecurrentEncoder(nn.Module, kw_only=True):
    """Layers of LSTM or GRU, in both directions (Schuster and Paliwal 1997) or forward alone.

    With both, each direction has half of `width`. `pooled` is the last hidden state of each
    direction of the last layer, or the mean or the maximum over the valid positions. `dropout` is
    applied to the input of every layer and to `pooled`. Raises ConfigError if `width` is odd.
    """

    width: int = 128
    depth: int = 1
    cell: Cell = "lstm"
    bidirectional: bool = True
    pooling: Pooling = "last"
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @property
    def causal(self) -> bool:
        """Whether a token's state is of nothing after it."""
        return not self.bidirectional

    def encode(
        self, values: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool
    ) -> Tokens:
        if self.bidirectional and self.width % 2:
            raise ConfigError(
                109,
                f"width={self.width} does not halve into two directions",
                fix=f"width={self.width + 1}, or bidirectional=False",
            )
        directions = ("forward", "backward") if self.bidirectional else ("forward",)
        pooled = jnp.zeros((values.shape[0], self.width), self.dtype)
        for layer in range(self.depth):
            values = nn.Dropout(self.dropout, deterministic=not train)(values)
            found = [
                Recurrent(
                    hidden=self.width // len(directions),
                    cell=self.cell,
                    reverse=direction == "backward",
                    name=f"layer_{layer}_{direction}",
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                )(values, mask)
                for direction in directions
            ]
            values = jnp.concatenate([states for states, _ in found], axis=-1)
            pooled = jnp.concatenate([last for _, last in found], axis=-1)
        if self.pooling != "last":
            pooled = pool(values, mask, self.pooling)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return Tokens(values, mask, pooled)


class TextRNN(RecurrentEncoder, kw_only=True):
    """A recurrent network over word embeddings: the text side of the literature's MM-RNN.

    Layers, directions and pooling as in `RecurrentEncoder`; embeddings have `embedding_width`.
    """

    vocab_size: int = fact()
    embedding_width: int = 128

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"],
        *,
        train: bool,
    ) -> Tokens:
        words = embedding(
            self.vocab_size,
            self.embedding_width,
            stddev=0.1,
            name="words",
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )(input_ids)
        return self.encode(words, jnp.asarray(attention_mask, bool), train=train)


class StreamRNN(RecurrentEncoder, kw_only=True):
    """A recurrent network over features in time, such as log-mel frames or sensor readings.

    Layers, directions and pooling as in `RecurrentEncoder`. `fold` positions are read in one step
    (None: 1, and 160 samples of a waveform, 10 ms at 16 kHz); a step is valid where any of its
    positions is.
    """

    fold: int | None = None

    @nn.compact
    def __call__(
        self,
        input_features: Float[ArrayLike, "b t c"] | None = None,
        attention_mask: Bool[ArrayLike, "b t"] | Int[ArrayLike, "b t"] | None = None,
        input_values: Float[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        values = stream_of(input_features, input_values, "stream_rnn").astype(self.dtype)
        mask = whole_mask(attention_mask, values)
        fold = self.fold or (1 if input_values is None else 160)
        values = fold_time(without_padding(values, mask), fold)
        return self.encode(values, shorter_mask(mask, fold), train=train)
