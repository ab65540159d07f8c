"""What encoder-decoders are made of: positions and blocks of one side, and the head over words."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.attention import causal_mask
from mmjax.nn.cache import advance, caching
from mmjax.nn.dense import parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.positions import sinusoid_table

Positions = Literal["learned", "frozen", "sinusoidal", "tensor2tensor"]
"""A learned table; one that is not trained; sines and cosines in halves, as Marian's; those whose
frequencies end at 1 / 10000 and that are 0 before the first, as M2M100's."""
EmbeddingsNorm = Literal["none", "words", "sum"]
"""What is normalised: nothing, the words alone, or their sum with the positions."""


class Side(TransformerEncoder, kw_only=True):
    """Settings that both sides of an encoder-decoder have in common, and what makes its blocks.

    `positions` count from `position_offset`, which BART has at 2. `embeddings_norm` says what is
    normalised before the blocks, `final_norm` whether their output is (None: where `norm` is
    "pre"). `mlp_dropout` follows the activation, `layer_drop` leaves whole blocks out in training.
    """

    max_length: int = fact()
    positions: Positions = "learned"
    position_offset: int = 0
    embeddings_norm: EmbeddingsNorm = "none"
    final_norm: bool | None = None
    mlp_dropout: float = 0.0
    layer_drop: float = 0.0

    def run(
        self,
        words: Float[Array, "b n d"],
        mask: Bool[Array, "b _"],
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        context: Tokens | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """Embedded words through the blocks; with `context`, causally and looking at it.

        To be called in a compact method. Where the decoder keeps a cache, `mask` is that of its
        slots. Raises ConfigError for more tokens than `max_length`.
        """
        length = words.shape[1]
        if length > self.max_length:
            raise ConfigError(
                109,
                f"{length} tokens are more than max_length={self.max_length}",
                fix="cut them, or take a model with more positions",
            )
        first = None
        if context is not None and caching(self):
            first = advance(self, length)
        if position_ids is None:
            position_ids = jnp.arange(length)[None] + (0 if first is None else first)
        values = words
        if self.embeddings_norm == "words":
            values = self._embeddings_norm(values)
        values = values + self._positions(position_ids)
        if self.embeddings_norm == "sum":
            values = self._embeddings_norm(values)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        blocks = self.transformer(
            final_norm=self.final_norm,
            mlp_dropout=self.mlp_dropout,
            layer_drop=self.layer_drop,
            cross_attention=context is not None,
        )
        if context is None:
            return blocks(values, mask, train=train)
        seen = causal_mask(mask, first, length)
        return blocks(values, seen, context.values, context.mask, train=train)

    def _embeddings_norm(self, values: Array) -> Array:
        return layer_norm(name="embeddings_norm", eps=self.eps, **self.types())(values)

    def _positions(self, position_ids: Int[ArrayLike, "#b n"]) -> Float[Array, "#b n d"]:
        count = self.max_length + self.position_offset
        if self.positions in ("sinusoidal", "tensor2tensor"):
            half = self.width // 2
            longest = 10000.0
            if self.positions == "tensor2tensor":
                longest = 10000.0 ** (half / max(half - 1, 1))
            fixed = sinusoid_table(count, self.width, longest=longest, layout="halves")
            if self.positions == "tensor2tensor":
                fixed[: self.position_offset][-1:] = 0
            table = jnp.asarray(fixed, self.dtype)
        else:
            table = parameter(
                self,
                "positions",
                (count, self.width),
                ("tokens", "embed"),
                init=nn.initializers.normal(0.02),
                **self.types(),
            )
            if self.positions == "frozen":
                table = jax.lax.stop_gradient(table)
        return table[position_ids + self.position_offset]


class TextDecoder(Side, kw_only=True):
    """Embedded words that look at those before them and at an encoder's tokens.

    Behind an encoder of any modality: words come from the table that the head shares.
    """

    @nn.compact
    def __call__(
        self,
        words: Float[Array, "b n d"],
        mask: Bool[Array, "b _"],
        context: Tokens,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        return self.run(words, mask, position_ids, context, train=train)


def valid(mask: ArrayLike | None, ids: Int[ArrayLike, "b n"]) -> Bool[Array, "b _"]:
    """An attention mask as booleans; all True where there is none."""
    return jnp.ones(ids.shape, bool) if mask is None else jnp.asarray(mask, bool)


def settings_of(module: nn.Module, cls: type[nn.Module]) -> dict[str, Any]:
    """The settings of `module` that a part of the type `cls` takes over."""
    fields = (field.name for field in dataclasses.fields(cls) if field.init)
    return {name: getattr(module, name) for name in fields if name not in ("parent", "name")}
