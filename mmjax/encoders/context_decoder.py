"""A decoder of text alone, behind an encoder that is not its own."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Decoded, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.bart import counted
from mmjax.encoders.seq2seq import EmbeddingsNorm, Side, TextDecoder, settings_of, valid
from mmjax.nn.cache import caching, mask_of_step
from mmjax.nn.dense import dense, embedding
from mmjax.nn.pooling import last_valid
from mmjax.nn.transformer import Norm


class ContextDecoder(Side, kw_only=True):
    """BART's decoder with its words and head, which looks at tokens of any width.

    With the defaults that of TrOCR (Li et al. 2023). Word vectors are multiplied by `words_scale`.
    With `padding_id`, positions count the tokens other than it. The head is the table of words
    (`tied`) or its own. `pooled` of its tokens is the last valid one.
    """

    vocab_size: int = fact()
    norm: Norm = "post"
    position_offset: int = 2
    embeddings_norm: EmbeddingsNorm = "sum"
    eps: float = 1e-5
    words_scale: float = 1.0
    padding_id: int | None = None
    tied: bool = True

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b _"] | Int[ArrayLike, "b _"] | None = None,
        *,
        context: Tokens,
        position_ids: Int[ArrayLike, "b n"] | None = None,
        train: bool,
    ) -> Decoded:
        mask = valid(attention_mask, input_ids)
        table = embedding(self.vocab_size, self.width, name="words", **self.types())
        words = table(jnp.asarray(input_ids)) * self.words_scale
        if position_ids is None:
            position_ids = counted(input_ids, self.padding_id)
        decoder = TextDecoder(**settings_of(self, TextDecoder), name="decoder")
        values = decoder(words, mask, context, position_ids, train=train)
        logits: Float[Array, "b n v"]
        if self.tied:
            logits = table.attend(values)
        else:
            axes = ("embed", "vocab")
            head = dense(self.vocab_size, axes, use_bias=False, name="head", **self.types())
            logits = head(values)
        own = mask_of_step(mask, values.shape[1]) if caching(self) else mask
        return Decoded(logits, Tokens(values, own, last_valid(values, own)), context)

    def decode(
        self,
        decoder_input_ids: Int[ArrayLike, "b n"],
        encoder: Tokens,
        decoder_attention_mask: Bool[ArrayLike, "b m"] | Int[ArrayLike, "b m"] | None = None,
        position_ids: Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Decoded:
        """What an encoder-decoder's `decode` is called with.

        Where a cache is kept (`nn.cache`), the tokens are the next ones, and the mask is that of
        all slots.
        """
        return self(
            decoder_input_ids,
            decoder_attention_mask,
            context=encoder,
            position_ids=position_ids,
            train=train,
        )

    @property
    def most_positions(self) -> int | None:
        """How many tokens can be decoded."""
        return self.max_length
