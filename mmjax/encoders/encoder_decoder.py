"""Any encoder before a language model that looks at its tokens."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import Spec, fact
from mmjax.core.types import Decoded, Tokens
from mmjax.core.typing import ArrayLike, Bool, Dtype, Int
from mmjax.encoders import EncoderSpec, decoders, registry
from mmjax.nn.dense import dense

DecoderSpec = Annotated[Spec, decoders]


class EncoderDecoder(nn.Module, kw_only=True):
    """transformers' VisionEncoderDecoder, SpeechEncoderDecoder and EncoderDecoder.

    `decode_with` is a `causal_lm` with `cross_attention`. `project` is the width that the encoder's
    tokens are projected to, None where they have the decoder's. `Decoded.encoder` is what the
    encoder returned.
    """

    encode_with: EncoderSpec
    decode_with: DecoderSpec
    project: int | None = None
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.encoder = registry.build(self.encode_with, facts=types)
        self.decoder = decoders.build(self.decode_with, facts=types)
        if self.project is not None:
            self.projection = dense(self.project, ("embed", "joined"), name="projection", **types)

    def encode(self, *, train: bool, **fields: ArrayLike) -> Tokens:
        """What the decoder looks at, before it is projected."""
        return self.encoder(**fields, train=train)

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
        context = encoder
        if self.project is not None:
            context = dataclasses.replace(encoder, values=self.projection(encoder.values))
        found = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            position_ids=position_ids,
            context=context,
            train=train,
        )
        return dataclasses.replace(found, encoder=encoder)

    @property
    def most_positions(self) -> int | None:
        """How many tokens can be decoded."""
        own = decoders.load(self.decode_with.name)
        return own(**self.decode_with.options, parent=None).most_positions

    def __call__(
        self,
        decoder_input_ids: Int[ArrayLike, "b n"],
        decoder_attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
        **fields: ArrayLike,
    ) -> Decoded:
        encoder = self.encode(**fields, train=train)
        return self.decode(decoder_input_ids, encoder, decoder_attention_mask, train=train)
