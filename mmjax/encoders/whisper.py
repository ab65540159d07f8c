"""Whisper: an encoder of log-mel bands, alone or with its decoder of text."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Decoded, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.encoders.seq2seq import TextDecoder, settings_of, valid
from mmjax.encoders.spec_augment import SpecAugmented
from mmjax.nn.cache import caching, mask_of_step
from mmjax.nn.convolution import conv1d
from mmjax.nn.dense import ACTIVATIONS, dense, embedding, parameter
from mmjax.nn.pooling import last_valid, masked_mean
from mmjax.nn.positions import sinusoid_table


class WhisperSettings(SpecAugmented, kw_only=True):
    """The settings that the encoder alone and the whole have in common.

    A sound has at most `max_frames` frames, 3000 for 30 seconds.
    """

    max_frames: int = fact(3000)
    eps: float = 1e-5
    use_bias: bool | tuple[str, ...] = ("query", "value", "out")
    mlp_dropout: float = 0.0
    layer_drop: float = 0.0
    keeps_silence: bool = False


class WhisperEncoder(WhisperSettings, kw_only=True):
    """Whisper's encoder (Radford et al. 2022): two convolutions, fixed sinusoids, pre-norm blocks.

    A token is two frames. As in transformers' `WhisperEncoder` the blocks look at the padding too,
    which is how it was trained; `attention_mask` only becomes the mask of `Tokens`, of which
    `pooled` is the mean. Where transformers takes exactly `max_frames`, fewer are taken here.
    With `keeps_silence`, the tokens behind a sound are valid too, which a decoder that was trained
    with them looks at; a row without any sound has none. Positions are weights, though no gradient
    reaches them. Raises ConfigError for more frames.
    """

    @nn.compact
    def __call__(
        self,
        input_features: Float[ArrayLike, "b t f"],
        attention_mask: Bool[ArrayLike, "b t"] | Int[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        values = jnp.asarray(input_features, self.dtype)
        frames = values.shape[1]
        if frames > self.max_frames:
            raise ConfigError(
                109,
                f"{frames} frames are more than max_frames={self.max_frames}",
                fix="cut the sounds",
            )
        mask = jnp.ones(values.shape[:2], bool)
        if attention_mask is not None:
            mask = jnp.asarray(attention_mask, bool)
        values = self.hide_channels(self.hide_frames(values, mask, train=train), train=train)
        for index, stride in enumerate((1, 2)):
            conv = conv1d(
                self.width, kernel=3, stride=stride, padding=1, name=f"conv_{index}", **types
            )
            values = ACTIVATIONS["gelu"](conv(values))
        values = values + self._positions()[: values.shape[1]]
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        blocks = self.transformer(mlp_dropout=self.mlp_dropout, layer_drop=self.layer_drop)
        values = blocks(values, train=train)
        mask = mask[:, ::2]
        if self.keeps_silence:
            mask = jnp.broadcast_to(mask.any(axis=1, keepdims=True), mask.shape)
        return Tokens(values, mask, masked_mean(values, mask))

    def _positions(self) -> Float[Array, "n d"]:
        """Sinusoids whose frequencies end at 1 / 10000."""
        half = self.width // 2
        longest = 10000.0 ** (half / max(half - 1, 1))

        def init(key: Array, shape: tuple[int, int], dtype: Dtype) -> Array:
            return jnp.asarray(sinusoid_table(*shape, longest=longest, layout="halves"), dtype)

        table = parameter(
            self,
            "positions",
            ((self.max_frames + 1) // 2, self.width),
            ("tokens", "embed"),
            init=init,
            **self.types(),
        )
        return jax.lax.stop_gradient(table)


class Whisper(WhisperSettings, kw_only=True):
    """Whisper's encoder, and a decoder of text that looks at its tokens, padding included.

    `max_length` is that of the text. The decoder has the encoder's size where `decoder_...` is
    None. The head is the table of words (`tied`) or its own. `pooled` of the decoder's tokens is
    the last valid one.
    """

    vocab_size: int = fact()
    max_length: int = fact(448)
    decoder_depth: int | None = None
    decoder_heads: int | None = None
    decoder_mlp_dim: int | None = None
    decoder_layer_drop: float | None = None
    tied: bool = True

    def setup(self) -> None:
        own = ("depth", "heads", "mlp_dim", "layer_drop")
        given = {name: getattr(self, f"decoder_{name}") for name in own}
        settings = settings_of(self, TransformerEncoder)
        settings |= {
            name: getattr(self, name) for name in ("max_length", "mlp_dropout", "layer_drop")
        }
        settings |= {name: value for name, value in given.items() if value is not None}
        self.encoder = WhisperEncoder(**settings_of(self, WhisperEncoder), name="encoder")
        self.decoder = TextDecoder(**settings, name="decoder")
        self.words = embedding(self.vocab_size, self.width, name="words", **self.types())
        if not self.tied:
            self.head = dense(
                self.vocab_size, ("embed", "vocab"), use_bias=False, name="head", **self.types()
            )

    def encode(
        self,
        input_features: Float[ArrayLike, "b t f"],
        attention_mask: Bool[ArrayLike, "b t"] | Int[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        """What the decoder looks at."""
        return self.encoder(input_features, attention_mask, train=train)

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
        everything = dataclasses.replace(encoder, mask=jnp.ones_like(encoder.mask))
        words = self.words(jnp.asarray(decoder_input_ids))
        values = self.decoder(words, mask, everything, position_ids, train=train)
        logits: Array = self.words.attend(values) if self.tied else self.head(values)
        own_mask = mask_of_step(mask, values.shape[1]) if caching(self) else mask
        return Decoded(logits, Tokens(values, own_mask, last_valid(values, own_mask)), encoder)

    @property
    def most_positions(self) -> int | None:
        """How many tokens can be decoded."""
        return self.max_length

    def __call__(
        self,
        input_features: Float[ArrayLike, "b t f"],
        attention_mask: Bool[ArrayLike, "b t"] | Int[ArrayLike, "b t"] | None,
        decoder_input_ids: Int[ArrayLike, "b n"],
        decoder_attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Decoded:
        encoder = self.encode(input_features, attention_mask, train=train)
        return self.decode(decoder_input_ids, encoder, decoder_attention_mask, train=train)
