"""Whisper's rules for the tokens that say when something was said."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Float
from mmjax.generate.penalties import NEVER
from mmjax.generate.state import Progress


@dataclasses.dataclass(frozen=True)
class Timestamps:
    """A processor: times come in pairs, do not fall, and the first token is one.

    As `WhisperTimeStampLogitsProcessor` of transformers (Radford et al. 2022, after OpenAI's
    `ApplyTimestampRules`). Words lie below `first`, the id of 0.00 seconds, times from it on.
    `latest` is the last step that the first time may have. Where times together are likelier than
    any word, a time is taken.
    """

    first: int
    no_timestamps: int
    end: int
    latest: int | None = None

    def __call__(self, progress: Progress, logits: Float[Array, "b v"]) -> Float[Array, "b v"]:
        ids = jnp.arange(logits.shape[1])
        word, time = ids < self.first, ids >= self.first
        slots = jnp.arange(progress.tokens.shape[1])
        new = (slots >= progress.slot - progress.count) & (slots < progress.slot)
        times = jnp.where(new & (progress.tokens >= self.first), progress.tokens, -1)
        # The last one: times do not fall.
        last = times.max(axis=1)
        was = self._time_at(progress, 1) & (progress.count >= 1)
        before = self._time_at(progress, 2) | (progress.count < 2)
        banned = jnp.broadcast_to(ids == self.no_timestamps, logits.shape)
        banned |= (was & before)[:, None] & time
        banned |= (was & ~before)[:, None] & (ids < self.end)
        least = jnp.where(was & ~before, last, last + 1)
        banned |= (last >= 0)[:, None] & time & (ids < least[:, None])
        begin = progress.count == 0
        banned |= begin & word
        if self.latest is not None:
            banned |= begin & (ids > self.first + self.latest)
        logits = jnp.where(banned, NEVER, logits)
        likely = jax.nn.log_softmax(logits, axis=-1)
        together = jax.nn.logsumexp(likely[:, self.first :], axis=-1)
        sure = together > likely[:, : self.first].max(axis=-1)
        return jnp.where(sure[:, None] & word, NEVER, logits)

    def _time_at(self, progress: Progress, back: int) -> Array:
        place = jnp.maximum(progress.slot - back, 0)
        token = jax.lax.dynamic_index_in_dim(progress.tokens, place, axis=1, keepdims=False)
        return token >= self.first
