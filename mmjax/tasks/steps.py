"""What tasks about time share: the steps of tokens, when they are, and their labels."""

from __future__ import annotations

import einops
import jax.numpy as jnp

from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch
from mmjax.core.typing import Array, ArrayLike, Bool, Float
from mmjax.nn.pooling import masked_mean


def to_steps(
    values: Float[Array, "b n d"], mask: Bool[Array, "b n"], tokens: int
) -> tuple[Float[Array, "b s d"], Bool[Array, "b s"]]:
    """The mean of each step's `tokens` tokens, which follow each other; those that are left over
    stand before them, such as a class token. Raises ConfigError for fewer tokens than that.
    """
    steps = values.shape[1] // tokens
    if not steps:
        raise ConfigError(
            109,
            f"{values.shape[1]} tokens are no step of {tokens}",
            where="task.tokens_per_step",
            fix="give the tokens of one step, such as the patches of a frame",
        )
    if tokens == 1:
        return values, mask
    spare = values.shape[1] - steps * tokens
    parts = einops.rearrange(values[:, spare:], "b (s k) d -> (b s) k d", k=tokens)
    own = einops.rearrange(mask[:, spare:], "b (s k) -> (b s) k", k=tokens)
    means = masked_mean(parts, own)
    shape = (values.shape[0], steps)
    return means.reshape(*shape, -1), own.any(axis=-1).reshape(shape)


def seconds_of(batch: Batch, modality: str, steps: int) -> Float[Array, "b s 2"]:
    """Start and end of each step, of the seconds that the modality's positions are of.

    Raises ConfigError where the modality does not tell them.
    """
    fields = batch.inputs.get(modality, {})
    if "seconds" not in fields:
        raise ConfigError(
            109,
            f"the modality '{modality}' does not tell when its tokens are",
            where=f"data.modalities.{modality}",
            fix="set seconds=True of video and audio, step_seconds of a sequence",
        )
    whole = jnp.asarray(fields["seconds"], jnp.float32)
    edges = jnp.arange(steps + 1, dtype=jnp.float32) / steps
    places = whole[:, :1] + edges * (whole[:, 1:] - whole[:, :1])
    return jnp.stack([places[:, :-1], places[:, 1:]], axis=-1)


def labels_at(
    seconds: Float[ArrayLike, "b s 2"], segments: Float[ArrayLike, "b m 3"], count: int
) -> Bool[Array, "b s count"]:
    """Which labels hold at the middle of each step."""
    seconds, segments = jnp.asarray(seconds), jnp.asarray(segments)
    middle = seconds.mean(axis=-1)[:, :, None]
    inside = (segments[:, None, :, 0] <= middle) & (middle < segments[:, None, :, 1])
    inside &= segments[:, None, :, 2] >= 0
    named = segments[..., 2, None] == jnp.arange(count)
    return jnp.any(inside[..., None] & named[:, None], axis=2)
