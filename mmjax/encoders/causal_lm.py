"""Decoder-only language models: GPT-2, GPT-J, Llama and the like are settings of one module."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Decoded, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.attention import causal_mask
from mmjax.nn.cache import COLLECTION, advance, caching, mask_of_step
from mmjax.nn.dense import Activation, dense, embedding
from mmjax.nn.gated_block import TanhGatedBlock
from mmjax.nn.lm_block import Layer, LMBlock, Parallel, Places
from mmjax.nn.norms import layer_norm
from mmjax.nn.packing import packed_mask
from mmjax.nn.pooling import last_valid
from mmjax.nn.positions import sinusoids
from mmjax.nn.rotary import rotary_angles, rotary_frequencies
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import NORMS, BlockSettings, NormKind
from mmjax.nn.valid_positions import behind, count_valid

Positions = Literal["learned", "rotary", "alibi", "sinusoidal"]

_EVERYWHERE = np.iinfo(np.int32).max


class CausalSettings(TransformerEncoder, kw_only=True):
    """Settings of a decoder-only language model; with the defaults, GPT-2's (Radford et al. 2019).

    `positions` are a learned table of `max_length`, from its row `position_offset` on; angles
    (`rotary_...`, see `nn.rotary`; `rotary_dim` of each head's channels, all if None); ALiBi
    (Press et al. 2022); or sines and cosines in halves that end at 1 / 10000 (XGLM). With
    `count_valid`, a token's position is the number of valid ones before it (OPT), not its place.
    `windows` are how far back each layer looks, repeated over the layers; 0 is everywhere.
    `factor_by_layer` divides the logits of layer i by i + 1. Words of `embedding_width` are
    projected to `width` and back. `parallel`, `fused` and `query_key_norm` are those of
    `nn.lm_block`. `word_segments` adds the words of `token_type_ids` (GPT-2). `cross_attention`
    looks at an encoder's tokens, which must have the same width. With `gated_every`, the first of
    every so many layers has a gated block before it that looks at them, and that begins as the
    identity (Flamingo, Alayrac et al. 2022).
    """

    causal: ClassVar[bool] = True
    vocab_size: int = fact()
    max_length: int = fact()
    activation: Activation = "gelu_tanh"
    eps: float = 1e-5
    norm_kind: NormKind = "layer"
    final_norm: bool = True
    gated: bool = False
    mlp_bias: bool = True
    kv_heads: int | None = None
    head_dim: int | None = None
    attention_scale: float | None = None
    parallel: Parallel = "no"
    fused: bool = False
    query_key_norm: bool = False
    mlp_dropout: float = 0.0
    positions: Positions = "learned"
    position_offset: int = 0
    count_valid: bool = False
    rotary_dim: int | None = None
    rotary_base: float = 10000.0
    rotary_interleaved: bool = False
    rotary_scaling: Mapping[str, float] | None = None
    windows: tuple[int, ...] = ()
    factor_by_layer: bool = False
    word_segments: bool = False
    cross_attention: bool = False
    gated_every: int = 0
    words_scale: float = 1.0
    embedding_width: int | None = None
    embeddings_norm: bool = False
    embeddings_dropout: float = 0.0
    layer_drop: float = 0.0

    def words(self) -> nn.Embed:
        """The table of words; to be called in a compact method, once."""
        width = self.embedding_width or self.width
        return embedding(self.vocab_size, width, name="words", **self.types())

    def run(
        self,
        words: nn.Embed,
        input_ids: Int[ArrayLike, "b n"],
        mask: Bool[Array, "b _"],
        token_type_ids: Int[ArrayLike, "b n"] | None = None,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        context: Tokens | None = None,
        segment_ids: Int[ArrayLike, "b n"] | None = None,
        prefix: Tokens | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """The last hidden states of the words; to be called in a compact method.

        The tokens of `prefix`, of the model's width, stand before the words, as words do: causally,
        and counted in positions where they are valid. Raises ConfigError for more tokens than a
        learned table has, segments without `word_segments`, or a context that is missing or of no
        use.
        """
        self._check(input_ids, context, prefix)
        values = words(jnp.asarray(input_ids))
        if token_type_ids is not None:
            if not self.word_segments:
                raise ConfigError(
                    109,
                    "token_type_ids are given to a model that has none",
                    fix="leave them out",
                )
            values = values + words(jnp.asarray(token_type_ids))
        if self.embedding_width is not None:
            values = self._projected(values, self.width, "projection")
        values = values * jnp.asarray(self.words_scale, values.dtype)
        before = 0
        if prefix is not None:
            later = caching(self) and self.has_variable(COLLECTION, "slot")
            position_ids = behind(prefix.mask, position_ids, mask, later=later)
            mask = jnp.concatenate([prefix.mask, mask], axis=1)
            if not later:
                before = prefix.mask.shape[1]
                values = jnp.concatenate([prefix.values.astype(values.dtype), values], axis=1)
        length = values.shape[1]
        first = advance(self, length) if caching(self) else None
        if position_ids is None:
            position_ids = (
                count_valid(mask) if self.count_valid else jnp.arange(mask.shape[1])[None]
            )
            if first is not None:
                position_ids = jax.lax.dynamic_slice_in_dim(position_ids, first, length, axis=1)
        position_ids = jnp.asarray(position_ids)
        if self.positions == "learned":
            count = self.max_length + self.position_offset
            axes = ("tokens", "embed")
            table = embedding(count, self.width, axes=axes, name="positions", **self.types())
            values = values + table(position_ids + self.position_offset)
        elif self.positions == "sinusoidal":
            values = values + self._sinusoids(position_ids + self.position_offset)
        if self.embeddings_norm:
            values = layer_norm(name="embeddings_norm", eps=self.eps, **self.types())(values)
        values = nn.Dropout(self.embeddings_dropout, deterministic=not train)(values)
        places = self._places(mask, position_ids, first)
        if segment_ids is not None:
            seen = places.mask & packed_mask(segment_ids)
            places = dataclasses.replace(places, mask=seen)
        if context is not None:
            places = dataclasses.replace(places, context=context.values, context_mask=context.mask)
        values = self._blocks(values, places, context, train=train)[:, before:]
        if self.final_norm:
            values = NORMS[self.norm_kind](name="norm", eps=self.eps, **self.types())(values)
        if self.embedding_width is not None:
            values = self._projected(values, self.embedding_width, "projection_out")
        return values

    def _check(self, input_ids: ArrayLike, context: Tokens | None, prefix: Tokens | None) -> None:
        looks = self.cross_attention or self.gated_every > 0
        if (context is None) == looks:
            raise ConfigError(
                109,
                f"cross_attention={self.cross_attention}, gated_every={self.gated_every}, and an "
                f"encoder's tokens are {'missing' if context is None else 'given'}",
                fix=f"cross_attention={not looks}",
            )
        if prefix is not None and prefix.values.shape[-1] != self.width:
            raise ConfigError(
                109,
                f"a prefix of width {prefix.values.shape[-1]} for a model of {self.width}",
                fix="project it first",
            )
        length = input_ids.shape[1] + (0 if prefix is None else prefix.mask.shape[1])
        if self.positions == "learned" and length > self.max_length:
            raise ConfigError(
                109,
                f"{length} tokens are more than max_length={self.max_length}",
                fix="cut them, or take a model with more positions",
            )

    def _blocks(
        self, values: Array, places: Places, context: Tokens | None, *, train: bool
    ) -> Float[Array, "b n d"]:
        stack, own = self._stack(), (self._layers(),)
        if not self.gated_every or context is None:
            return stack(values, places, layerwise=own, train=train)
        for start in range(0, self.depth, self.gated_every):
            gated = TanhGatedBlock(
                heads=self.heads,
                mlp_dim=self.mlp_dim,
                eps=self.eps,
                self_attention=False,
                cross_attention=True,
                name=f"gated_{start // self.gated_every}",
                **self.types(),
            )
            values = gated(values, None, context.values, context.mask, train=train)
            stop = min(start + self.gated_every, self.depth)
            values = stack(values, places, layerwise=own, start=start, stop=stop, train=train)
        return values

    def _sinusoids(self, positions: Int[Array, "#b n"]) -> Float[Array, "#b n d"]:
        half = self.width // 2
        longest = 10000.0 ** (half / max(half - 1, 1))
        found = sinusoids(positions, self.width, longest=longest, layout="halves")
        return found.astype(self.dtype)

    def _stack(self) -> Stack:
        fields = {field.name for field in dataclasses.fields(BlockSettings)} - {"parent", "name"}
        own = {name: getattr(self, name) for name in fields if hasattr(self, name)}
        for name in ("kv_heads", "parallel", "fused", "query_key_norm"):
            own[name] = getattr(self, name)
        return Stack(
            block=LMBlock,
            settings={**own, "interleaved": self.rotary_interleaved},
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            name="stack",
        )

    def _places(
        self,
        mask: Bool[Array, "b m"],
        position_ids: Int[Array, "#b n"],
        first: Int[Array, ""] | None,
    ) -> Places:
        count = position_ids.shape[1]
        keys = jnp.arange(mask.shape[1])
        places = keys if first is None else first + jnp.arange(count)
        bias = angles = None
        if self.positions == "rotary":
            head_dim = self.head_dim or self.width // self.heads
            frequencies = rotary_frequencies(
                self.rotary_dim or head_dim, self.rotary_base, self.rotary_scaling
            )
            angles = rotary_angles(position_ids, frequencies)
        elif self.positions == "alibi":
            valid = count_valid(mask) * mask
            bias = jnp.asarray(alibi_slopes(self.heads))[None, :, None, None] * valid[:, None, None]
        seen = causal_mask(mask, first, count)
        return Places(seen, places[:, None] - keys, bias, angles)

    @property
    def most_positions(self) -> int | None:
        """How many tokens can be decoded; None is any number."""
        return self.max_length if self.positions == "learned" else None

    def _layers(self) -> Layer:
        factor = window = None
        if self.factor_by_layer:
            factor = jnp.asarray(1.0 / np.arange(1, self.depth + 1), jnp.float32)
        if any(self.windows):
            ends = [self.windows[i % len(self.windows)] for i in range(self.depth)]
            window = jnp.asarray([end or _EVERYWHERE for end in ends], jnp.int32)
        return Layer(window, factor)

    def _projected(self, values: Array, width: int, name: str) -> Array:
        return dense(width, ("embed", "joined"), use_bias=False, name=name, **self.types())(values)


class CausalEncoder(CausalSettings, kw_only=True):
    """A language model without its head; `pooled` is the last valid token.

    With `segment_ids`, a row holds several texts, none of which sees another (`nn.packing`).
    """

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        token_type_ids: Int[ArrayLike, "b n"] | None = None,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        segment_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        mask = valid(attention_mask, input_ids)
        values = self.run(
            self.words(),
            input_ids,
            mask,
            token_type_ids,
            position_ids,
            segment_ids=segment_ids,
            train=train,
        )
        return Tokens(values, mask, last_valid(values, mask))


class CausalLM(CausalSettings, kw_only=True):
    """A language model; its head is the table of words (`tied`) or its own.

    Padding may stand at either side. `pooled` of its tokens is the last valid one. `context` are an
    encoder's tokens, with `cross_attention` or `gated_every`; `prefix` are tokens before the words.
    Where a cache is kept (`nn.cache`), the tokens are the next ones, and the mask is that of all
    slots of words.
    """

    tied: bool = True
    head_bias: bool = False

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b _"] | Int[ArrayLike, "b _"] | None = None,
        token_type_ids: Int[ArrayLike, "b n"] | None = None,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        context: Tokens | None = None,
        prefix: Tokens | None = None,
        *,
        train: bool,
    ) -> Decoded:
        mask = valid(attention_mask, input_ids)
        words = self.words()
        values = self.run(
            words,
            input_ids,
            mask,
            token_type_ids,
            position_ids,
            context,
            prefix=prefix,
            train=train,
        )
        if caching(self):
            mask = mask_of_step(mask, values.shape[1])
        tokens = Tokens(values, mask, last_valid(values, mask))
        if self.tied:
            return Decoded(words.attend(values), tokens, context)
        head = dense(
            self.vocab_size,
            ("embed", "vocab"),
            use_bias=self.head_bias,
            name="head",
            **self.types(),
        )
        return Decoded(head(values), tokens, context)

    def decode(
        self,
        input_ids: Int[ArrayLike, "b n"],
        encoder: Tokens | None,
        attention_mask: Bool[ArrayLike, "b m"] | None = None,
        position_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        prefix: Tokens | None = None,
        train: bool,
    ) -> Decoded:
        """What an encoder-decoder's `decode` is called with; the mask is that of words alone."""
        return self(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            context=encoder,
            prefix=prefix,
            train=train,
        )


def valid(mask: ArrayLike | None, ids: Int[ArrayLike, "b n"]) -> Bool[Array, "b _"]:
    """An attention mask as booleans; all True where there is none."""
    return jnp.ones(ids.shape, bool) if mask is None else jnp.asarray(mask, bool)


def alibi_slopes(heads: int) -> np.ndarray:
    """The slope of each head (Press et al. 2022), float32.

    For other counts than powers of two, every other slope of the next power follows, as in
    transformers' `build_alibi_tensor`.
    """
    whole = 2 ** math.floor(math.log2(heads))
    slopes = 2.0 ** (-8.0 / whole * np.arange(1, whole + 1))
    more = 2.0 ** (-4.0 / whole * np.arange(1, 2 * (heads - whole), 2))
    return np.concatenate([slopes, more]).astype(np.float32)
