"""Guessing each token of a text from those before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import ArrayLike, Float
from mmjax.nn.packing import within_text
from mmjax.objectives.base import Context
from mmjax.objectives.language import LanguageObjective


class CausalLM(LanguageObjective, kw_only=True):
    """The next-token loss of GPT-2 (Radford et al. 2019) on the text `modality`.

    Of each row (or of each text of a packed row), the tokens after the first, special ones
    included. The encoder must be causal: one that sees what comes next has nothing to guess. It
    runs once, for all objectives. The head is the encoder's table of words (`tied`) or its own,
    with a bias if `use_bias`.
    """

    use_bias: bool = False

    batch_coupled: ClassVar[bool] = False

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        super().check(encoders)
        encoder = encoders[self.modality]
        if not getattr(encoder, "causal", False):
            raise ConfigError(
                109,
                f"{type(encoder).__name__} is not causal: it sees the tokens that are guessed",
                where=f"model.encoders.{self.modality}",
                fix="use 'causal_encoder', 'clip_text' or a 'text_rnn' of one direction",
            )

    def chances(self, fields: Mapping[str, ArrayLike]) -> Float[np.ndarray, "b n"]:
        mask = np.asarray(fields["attention_mask"], bool)
        guessed = mask[:, 1:] & mask[:, :-1]
        if "segment_ids" in fields:
            guessed &= np.asarray(within_text(fields["segment_ids"]))
        return np.pad(guessed, ((0, 0), (1, 0))).astype(np.float64)

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        tokens = context.tokens(self.modality)
        fields = context.batch.inputs[self.modality]
        ids = jnp.asarray(fields["input_ids"])
        mask = tokens.mask & context.rows(self.modality)[:, None]
        guessed = mask[:, :-1] & mask[:, 1:]
        if "segment_ids" in fields:
            guessed &= within_text(fields["segment_ids"])
        return self.guess(
            context,
            tokens.values[:, :-1],
            ids[:, 1:],
            guessed,
            transform=False,
            use_bias=self.use_bias,
        )
