"""BART and its kin: encoder-decoders of text that differ in positions and norms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Decoded, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.seq2seq import EmbeddingsNorm, Side, TextDecoder, settings_of, valid
from mmjax.nn.cache import caching, mask_of_step
from mmjax.nn.dense import dense, embedding, parameter
from mmjax.nn.pooling import last_valid, masked_mean
from mmjax.nn.transformer import Norm


class BartSettings(Side, kw_only=True):
    """The settings that the encoder alone and the whole have in common.

    With the defaults those of BART (Lewis et al. 2020). Word vectors are multiplied by
    `words_scale`. With `padding_id`, positions count the tokens other than it (M2M100).
    """

    vocab_size: int = fact()
    norm: Norm = "post"
    position_offset: int = 2
    embeddings_norm: EmbeddingsNorm = "sum"
    eps: float = 1e-5
    words_scale: float = 1.0
    padding_id: int | None = None


class BartEncoder(BartSettings, kw_only=True):
    """Words, positions and blocks; `pooled` is the tokens' mean under the mask."""

    def setup(self) -> None:
        self.words = embedding(self.vocab_size, self.width, name="words", **self.types())

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        mask = valid(attention_mask, input_ids)
        words = self.words(jnp.asarray(input_ids)) * self.words_scale
        positions = counted(input_ids, self.padding_id)
        values = self.run(words, mask, positions, train=train)
        return Tokens(values, mask, masked_mean(values, mask))


class Bart(BartSettings, kw_only=True):
    """An encoder, and a decoder of its tokens with a head over the vocabulary.

    The decoder has the encoder's size where `decoder_...` is None, and shares its words unless it
    has a vocabulary of its own. The head is the table of words (`tied`) or its own; `logits_bias`
    adds a constant vector to the logits, which is not trained. `pooled` of the decoder's tokens is
    the last valid one.
    """

    decoder_vocab_size: int | None = None
    decoder_depth: int | None = None
    decoder_heads: int | None = None
    decoder_mlp_dim: int | None = None
    decoder_embeddings_norm: EmbeddingsNorm | None = None
    decoder_layer_drop: float | None = None
    decoder_words_scale: float | None = None
    tied: bool = True
    logits_bias: bool = False

    def setup(self) -> None:
        own = ("depth", "heads", "mlp_dim", "embeddings_norm", "layer_drop")
        given = {name: getattr(self, f"decoder_{name}") for name in own}
        settings = settings_of(self, TextDecoder)
        settings |= {name: value for name, value in given.items() if value is not None}
        self.encoder = BartEncoder(**settings_of(self, BartEncoder), name="encoder")
        self.decoder = TextDecoder(**settings, name="decoder")
        vocabulary = self.decoder_vocab_size or self.vocab_size
        if self.decoder_vocab_size is not None:
            self.decoder_words = embedding(
                vocabulary, self.width, name="decoder_words", **self.types()
            )
        if not self.tied:
            self.head = dense(
                vocabulary, ("embed", "vocab"), use_bias=False, name="head", **self.types()
            )
        if self.logits_bias:
            self.head_bias = parameter(
                self,
                "head_bias",
                (vocabulary,),
                ("vocab",),
                init=nn.initializers.zeros,
                **self.types(),
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
        own = self.decoder_vocab_size is not None
        table = self.decoder_words if own else self.encoder.words
        own_scale = self.decoder_words_scale
        scale = self.words_scale if own_scale is None else own_scale
        words = table(jnp.asarray(decoder_input_ids)) * scale
        if position_ids is None:
            position_ids = counted(decoder_input_ids, self.padding_id)
        values = self.decoder(words, mask, encoder, position_ids, train=train)
        logits: Float[Array, "b n v"] = table.attend(values) if self.tied else self.head(values)
        if self.logits_bias:
            logits = logits + jax.lax.stop_gradient(self.head_bias)
        own_mask = mask_of_step(mask, values.shape[1]) if caching(self) else mask
        return Decoded(logits, Tokens(values, own_mask, last_valid(values, own_mask)), encoder)

    @property
    def most_positions(self) -> int | None:
        """How many tokens can be decoded."""
        return self.max_length

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


def counted(ids: Int[ArrayLike, "b n"], padding_id: int | None) -> Int[Array, "b n"] | None:
    """Positions 0, 1, ... of the tokens that are not `padding_id`, -1 where they are.

    None where `padding_id` is. As fairseq counts, less the offset.
    """
    if padding_id is None:
        return None
    real = (jnp.asarray(ids) != padding_id).astype(jnp.int32)
    return jnp.cumsum(real, axis=1) * real - 1
