"""Captioning: a text, guessed word by word by a decoder that looks at other modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.nn.lm_head import cross_entropy
from mmjax.objectives.base import Context, output, require_modalities
from mmjax.objectives.decoding import Decoding, behind, token_output
from mmjax.objectives.language import word_table


def captioning_loss(
    logits: Float[Array, "b n v"],
    labels: Int[Array, "b n"],
    *,
    mask: Bool[Array, "b n"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Array, ""]:
    """The mean cross-entropy of the labels where `mask` is True, in float32.

    The logits of a place are of the label there, so the caller has shifted them. Equals torch's
    `cross_entropy` with its `ignore_index`, and the captioning loss of OpenCLIP's `CoCaLoss`.
    """
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    return output(cross_entropy(logits, labels, label_smoothing=label_smoothing), counts).loss


class Captioning(Decoding, kw_only=True):
    """A decoder of the text whose blocks look at the tokens of other modalities.

    With `decoder_on="words"` the decoder embeds the words itself: the text gives labels, and its
    encoder, if it has one, is not seen. With `"tokens"` it goes on from the tokens that the text's
    encoder made of the same words. That encoder must be causal (`coca_text`, `causal_encoder`,
    `clip_text`): one that looks ahead would show what is to be guessed. Beside `contrastive` this
    is CoCa (Yu et al. 2022): one forward of each encoder serves both losses.

    A `tied` head has the table of the words, the encoder's with `decoder_on="tokens"`, which then
    has the decoder's `width`.
    """

    decoder_on: Literal["words", "tokens"] = "words"

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        super().check(encoders)
        if self.decoder_on == "words":
            return
        require_modalities([self.modality], tuple(encoders), "objectives.modality")
        encoder = encoders[self.modality]
        if not getattr(encoder, "causal", False):
            raise ConfigError(
                109,
                f"{type(encoder).__name__} is not causal: its tokens show the words to guess",
                where=f"model.encoders.{self.modality}",
                fix="use 'coca_text', 'causal_encoder' or 'clip_text', or decoder_on='words'",
            )

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        ids, mask = self.words(context)
        seen = self.seen(context)
        counts = mask & seen.mask.any(axis=1, keepdims=True)
        words, table = ids, None
        if self.decoder_on == "tokens":
            words = context.tokens(self.modality).values
            if self.tied:
                given = context.parameters(self.modality)
                table = word_table(given, self.known("vocab_size"), self.modality)
        labels, counts = behind(ids, counts, learned_start=self.learned_start)
        losses, right = self.decoder(cross_attention=True, learned_start=self.learned_start).losses(
            words,
            labels,
            mask,
            context=seen,
            table=table,
            label_smoothing=self.label_smoothing,
            train=train,
        )
        return token_output(losses, right, counts, label_smoothing=self.label_smoothing)
