"""Logits that depend on what was said before: repeated tokens, n-grams, bad words."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.generate.state import Progress

NEVER = -jnp.inf


def seen_tokens(progress: Progress, vocabulary: int) -> Bool[Array, "b v"]:
    """Which words a row has, its prompt included."""
    rows = jnp.arange(progress.tokens.shape[0])[:, None]
    start = jnp.zeros((progress.tokens.shape[0], vocabulary), bool)
    return start.at[rows, progress.tokens].max(progress.known)


def repetition_penalty(
    progress: Progress, logits: Float[Array, "b v"], penalty: float
) -> Float[Array, "b v"]:
    """Logits of words that were there over `penalty`, or times it (Keskar et al. 2019)."""
    penalised = jnp.where(logits < 0, logits * penalty, logits / penalty)
    return jnp.where(seen_tokens(progress, logits.shape[1]), penalised, logits)


def _last(progress: Progress, count: int) -> Int[Array, "b c"]:
    return jax.lax.dynamic_slice_in_dim(progress.tokens, progress.slot - count, count, axis=1)


def no_repeated_ngrams(
    progress: Progress, logits: Float[Array, "b v"], size: int
) -> Float[Array, "b v"]:
    """No n-gram of `size` words twice in a row, its prompt included (Paulus et al. 2017)."""
    tokens, before = progress.tokens, size - 1
    if size > tokens.shape[1]:
        return logits
    starts = tokens.shape[1] - before
    same = progress.valid[:, :starts] & (jnp.arange(starts) + before < progress.slot)
    if before:
        prefix = _last(progress, before)
        for place in range(before):
            same &= tokens[:, place : place + starts] == prefix[:, place, None]
    same &= (progress.lengths >= before)[:, None]
    rows = jnp.arange(tokens.shape[0])[:, None]
    banned = jnp.zeros(logits.shape, bool).at[rows, tokens[:, before:]].max(same)
    return jnp.where(banned, NEVER, logits)


def no_bad_words(
    progress: Progress, logits: Float[Array, "b v"], words: tuple[tuple[int, ...], ...]
) -> Float[Array, "b v"]:
    """The last id of each sequence is banned where the others stand before it."""
    single = [word[0] for word in words if len(word) == 1]
    if single:
        logits = logits.at[:, jnp.asarray(single)].set(NEVER)
    for word in words:
        if len(word) == 1 or len(word) > progress.tokens.shape[1]:
            continue
        same = (_last(progress, len(word) - 1) == jnp.asarray(word[:-1])).all(axis=1)
        same &= progress.lengths >= len(word)
        logits = logits.at[:, word[-1]].set(jnp.where(same, NEVER, logits[:, word[-1]]))
    return logits
