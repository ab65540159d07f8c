"""What is done to logits before a token is drawn: temperature, top-k, top-p, min-p."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, ArrayLike, Float
from mmjax.generate.config import GenerationConfig

_NEVER = -jnp.inf


def warp(
    logits: Float[Array, "b v"],
    config: GenerationConfig,
    temperature: Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b v"]:
    """As transformers' warpers, in their order; beams keep one more word than there are ends.

    `temperature` is that of each row, the settings' own if None.
    """
    keep = len(config.eos_token_id) + 1 if config.num_beams > 1 and config.eos_token_id else 1
    if config.num_beams > 1:
        keep = max(keep, 2)
    if temperature is not None:
        logits = logits / jnp.asarray(temperature)[:, None]
    elif config.temperature != 1.0:
        logits = logits / config.temperature
    if config.top_k:
        logits = top_k(logits, max(config.top_k, keep))
    if config.top_p < 1.0:
        logits = top_p(logits, config.top_p, keep)
    if config.min_p is not None:
        logits = min_p(logits, config.min_p, keep)
    return logits


def top_k(logits: Float[Array, "b v"], count: int) -> Float[Array, "b v"]:
    """The `count` likeliest words (Fan et al. 2018), and those as likely as the last of them."""
    count = min(count, logits.shape[-1])
    lowest = jax.lax.top_k(logits, count)[0][..., -1:]
    return jnp.where(logits < lowest, _NEVER, logits)


def top_p(logits: Float[Array, "b v"], share: float, keep: int = 1) -> Float[Array, "b v"]:
    """The fewest likeliest words whose probabilities sum to `share` (Holtzman et al. 2020)."""
    order = jnp.argsort(logits, axis=-1, stable=True)
    sums = jnp.cumsum(jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1)), axis=-1)
    kept = (sums > 1 - share).at[..., -keep:].set(True)
    places = jnp.argsort(order, axis=-1)
    return jnp.where(jnp.take_along_axis(kept, places, axis=-1), logits, _NEVER)


def min_p(logits: Float[Array, "b v"], share: float, keep: int = 1) -> Float[Array, "b v"]:
    """Words at least `share` times as likely as the likeliest (Nguyen et al. 2024)."""
    likely = jax.nn.softmax(logits, axis=-1)
    kept = likely >= share * likely.max(axis=-1, keepdims=True)
    lowest = jax.lax.top_k(logits, min(keep, logits.shape[-1]))[0][..., -1:]
    return jnp.where(kept | (logits >= lowest), logits, _NEVER)
