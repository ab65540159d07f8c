"""Sensor readings at irregular times and several rates."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense, embedding
from mmjax.nn.pooling import masked_mean
from mmjax.nn.positions import sinusoids
from mmjax.nn.temporal import without_padding


class TimeSeries(TransformerEncoder, kw_only=True):
    """A set of observations (time, channel, value), as SeFT (Horn et al. 2020) and STraTS have it.

    A token is the sum of three embeddings (STraTS, Tipirneni and Reddy 2022): of the channel, of
    the value by a small tanh network, and of the time by a dense layer on its sinusoids. Then
    `depth` blocks and the mean of the tokens. Channels of different rates are more observations or
    fewer; nothing is resampled, and the order of the observations does not matter. `times` are
    divided by `time_unit`, about the shortest time that matters; sinusoids have periods from 2 pi
    to 2 pi `longest` of it.
    """

    channel_count: int = fact()
    time_unit: float = 1.0
    longest: float = 10000.0
    width: int = 64
    depth: int = 2
    heads: int = 4
    mlp_dim: int = 128

    @nn.compact
    def __call__(
        self,
        times: Float[ArrayLike, "b n"],
        values: Float[ArrayLike, "b n"],
        channels: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"],
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        mask = jnp.asarray(attention_mask, bool)

        def clean(given: ArrayLike) -> Array:
            return without_padding(jnp.asarray(given, jnp.float32), mask)

        hidden = dense(
            max(8, int(self.width**0.5)), ("features", "joined"), name="value_hidden", **types
        )(clean(values)[..., None].astype(self.dtype))
        waves = sinusoids(clean(times) / self.time_unit, self.width, longest=self.longest)
        tokens = (
            dense(self.width, ("joined", "embed"), name="value", **types)(jnp.tanh(hidden))
            + dense(self.width, ("joined", "embed"), name="time", **types)(waves.astype(self.dtype))
            + embedding(
                self.channel_count,
                self.width,
                axes=("features", "embed"),
                name="channel",
                **types,
            )(jnp.where(mask, channels, 0))
        )
        tokens = nn.Dropout(self.dropout, deterministic=not train)(tokens)
        tokens = self.transformer()(tokens, mask, train=train)
        return Tokens(tokens, mask, masked_mean(tokens, mask))
