"""Prefix language modelling: the rest of a text, behind other modalities and its own beginning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Float, Int
from mmjax.objectives.base import Context
from mmjax.objectives.decoding import Decoding, behind, token_output


class PrefixLM(Decoding, kw_only=True):
    """A decoder of the text behind the tokens of other modalities (SimVLM, Wang et al. 2022).

    The tokens of `source` stand before the words and see each other; words see them and the words
    before. With `text_prefix`, up to that share of a text's tokens belongs to the prefix too, every
    number of them equally likely; they see each other and are not guessed. The number is drawn anew
    in each step of training, and is always the same for a row in evaluation.
    """

    text_prefix: float = 0.0

    batch_coupled: ClassVar[bool] = False

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        super().check(encoders)
        if not 0.0 <= self.text_prefix < 1.0:
            raise ConfigError(
                109,
                f"text_prefix={self.text_prefix}",
                where="objectives.text_prefix",
                fix="a share of the text, from 0 to less than 1",
            )

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        ids, mask = self.words(context)
        seen = self.seen(context)
        counts, given = mask & seen.mask.any(axis=1, keepdims=True), None
        if self.text_prefix:
            most = jnp.floor(self.text_prefix * mask.sum(axis=1))
            drawn = jnp.floor(self._uniform(context, train=train) * (most + 1))
            given = mask & (jnp.arange(ids.shape[1]) < drawn[:, None])
            counts &= ~given
        labels, counts = behind(ids, counts, learned_start=self.learned_start)
        losses, right = self.decoder(
            cross_attention=False, learned_start=self.learned_start
        ).losses(
            ids,
            labels,
            mask,
            prefix=seen,
            given=given,
            label_smoothing=self.label_smoothing,
            train=train,
        )
        return token_output(losses, right, counts, label_smoothing=self.label_smoothing)

    def _uniform(self, context: Context, *, train: bool) -> Float[Array, "b"]:
        """A number in [0, 1) a row, of this step in training, which depends on no other row."""
        data = jnp.zeros(2, jnp.uint32)
        if train and self.has_rng("mask"):
            data = jax.random.bits(self.make_rng("mask"), (2,), jnp.uint32)
        key = jax.random.wrap_key_data(data, impl="threefry2x32")
        rows: Int[Array, "b"] = jnp.asarray(context.batch.row).astype(jnp.uint32)
        return jax.vmap(lambda row: jax.random.uniform(jax.random.fold_in(key, row)))(rows)
