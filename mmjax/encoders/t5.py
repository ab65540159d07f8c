"""T5, mT5 and UMT5: encoder-decoders of text with relative positions."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Decoded, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.encoders.seq2seq import settings_of, valid
from mmjax.nn.attention import causal_mask
from mmjax.nn.cache import advance, caching, mask_of_step
from mmjax.nn.dense import Activation, dense, embedding
from mmjax.nn.norms import rms_norm
from mmjax.nn.pooling import last_valid, masked_mean
from mmjax.nn.relative_bias import RelativeBias
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import Block


class RelativeBlock(Block, kw_only=True):
    """A block with biases of its own for relative positions, as every layer of UMT5 has."""

    buckets: int = 32
    longest: int = 128
    both_ways: bool = True

    def bias_of(
        self, values: Float[Array, "b n d"], bias: Float[Array, "#b #k #n _"] | None
    ) -> Float[Array, "#b #k #n _"]:
        """The block's own bias, on top of the one that is given, whose keys are all slots where a
        cache is kept."""
        own = RelativeBias(
            heads=self.heads,
            buckets=self.buckets,
            longest=self.longest,
            both_ways=self.both_ways,
            name="relative_bias",
            **self.types(),
        )(values.shape[1], None if bias is None else bias.shape[-1])
        return own if bias is None else own + bias


class T5Settings(TransformerEncoder, kw_only=True):
    """The settings that both sides have in common, and what makes their blocks.

    Blocks normalise first, by root mean square; no layer has a bias and attention is not scaled.
    Attention has a learned bias for each of `buckets` bins of distance up to `longest` tokens, the
    same in all layers, or with `layer_bias` one a layer (UMT5).
    """

    vocab_size: int = fact()
    head_dim: int = 64
    gated: bool = False
    activation: Activation = "relu"
    use_bias: bool | tuple[str, ...] = False
    buckets: int = 32
    longest: int = 128
    layer_bias: bool = False

    def run(
        self,
        words: Float[Array, "b n d"],
        mask: Bool[Array, "b _"],
        context: Tokens | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        """Embedded words through the blocks; with `context`, causally and looking at it.

        To be called in a compact method.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        distances: dict[str, Any] = {
            "buckets": self.buckets,
            "longest": self.longest,
            "both_ways": context is None,
        }
        settings: dict[str, Any] = {
            "heads": self.heads,
            "head_dim": self.head_dim,
            "mlp_dim": self.mlp_dim,
            "norm_kind": "rms",
            "activation": self.activation,
            "gated": self.gated,
            "use_bias": self.use_bias,
            "mlp_bias": False,
            "attention_scale": 1.0,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "mlp_dropout": self.dropout,
            "eps": self.eps,
            "cross_attention": context is not None,
            **self.types(),
        }
        stack = Stack(
            block=RelativeBlock if self.layer_bias else Block,
            settings={**settings, **(distances if self.layer_bias else {})},
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            name="stack",
        )
        bias = first = None
        length = words.shape[1]
        if context is not None and caching(self):
            first = advance(self, length)
        if self.layer_bias and first is not None:
            bias = jnp.zeros((1, 1, length, mask.shape[1]), self.dtype)
        if not self.layer_bias:
            shared = RelativeBias(
                heads=self.heads, name="relative_bias", **distances, **self.types()
            )
            bias = shared(length, mask.shape[1])
        if context is None:
            values = stack(drop(words), mask, None, None, bias, train=train)
        else:
            seen = (causal_mask(mask, first, length), context.values, context.mask)
            values = stack(drop(words), *seen, bias, train=train)
        return drop(rms_norm(name="norm", eps=self.eps, **self.types())(values))


class T5Encoder(T5Settings, kw_only=True):
    """T5's encoder (Raffel et al. 2020); `pooled` is the tokens' mean under the mask."""

    def setup(self) -> None:
        self.words = embedding(
            self.vocab_size, self.width, stddev=1.0, name="words", **self.types()
        )

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        mask = valid(attention_mask, input_ids)
        values = self.run(self.words(jnp.asarray(input_ids)), mask, train=train)
        return Tokens(values, mask, masked_mean(values, mask))


class T5Decoder(T5Settings, kw_only=True):
    """Embedded words that look at those before them and at an encoder's tokens."""

    @nn.compact
    def __call__(
        self,
        words: Float[Array, "b n d"],
        mask: Bool[Array, "b _"],
        context: Tokens,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        return self.run(words, mask, context, train=train)


class T5(T5Settings, kw_only=True):
    """An encoder, and a decoder of its tokens with a head over the vocabulary.

    The decoder has `decoder_depth` layers, the encoder's number if None. The head is the table of
    words (`tied`), applied to hidden states over the root of the width, or its own (T5 1.1, mT5).
    `pooled` of the decoder's tokens is the last valid one.
    """

    decoder_depth: int | None = None
    tied: bool = True

    def setup(self) -> None:
        settings = settings_of(self, T5Decoder)
        settings["depth"] = self.depth if self.decoder_depth is None else self.decoder_depth
        self.encoder = T5Encoder(**settings_of(self, T5Encoder), name="encoder")
        self.decoder = T5Decoder(**settings, name="decoder")
        if not self.tied:
            self.head = dense(
                self.vocab_size, ("embed", "vocab"), use_bias=False, name="head", **self.types()
            )

    def encode(
        self,
        input_ids: Int[ArrayLike, "b m"],
        attention_mask: Bool[ArrayLike, "b m"] | Int[ArrayLike, "b m"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        """What the decoder looks at."""
        return self.encoder(input_ids, attention_mask, train=train)

    def decode(
        self,
        decoder_input_ids: Int[ArrayLike, "b n"],
        encoder: Tokens,
        decoder_attention_mask: Bool[ArrayLike, "b m"] | Int[ArrayLike, "b m"] | None = None,
        position_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Decoded:
        """Logits of each next token, given those before it and the encoder's tokens.

        Where a cache is kept (`nn.cache`), the tokens are the next ones, and the mask is that of
        all slots.
        """
        mask = valid(decoder_attention_mask, decoder_input_ids)
        words = self.encoder.words(jnp.asarray(decoder_input_ids))
        values = self.decoder(words, mask, encoder, train=train)
        if self.tied:
            logits = self.encoder.words.attend(values * self.width**-0.5)
        else:
            logits = self.head(values)
        own_mask = mask_of_step(mask, values.shape[1]) if caching(self) else mask
        return Decoded(logits, Tokens(values, own_mask, last_valid(values, own_mask)), encoder)

    @property
    def most_positions(self) -> int | None:
        """How many tokens can be decoded: any number."""
        return None

    def __call__(
        self,
        input_ids: Int[ArrayLike, "b m"],
        attention_mask: Bool[ArrayLike, "b m"] | Int[ArrayLike, "b m"] | None,
        decoder_input_ids: Int[ArrayLike, "b n"],
        decoder_attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Decoded:
        encoder = self.encode(input_ids, attention_mask, train=train)
        return self.decode(decoder_input_ids, encoder, decoder_attention_mask, train=train)
