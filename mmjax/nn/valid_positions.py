"""Positions that count valid tokens alone."""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.core.typing import Array, ArrayLike, Bool, Int


def count_valid(mask: Bool[Array, "b n"]) -> Int[Array, "b n"]:
    """How many valid tokens stand before each; -1 for one that is not valid."""
    return jnp.where(mask, jnp.cumsum(mask, axis=1) - 1, -1)


def behind(
    prefix: Bool[Array, "b p"],
    position_ids: Int[ArrayLike, "#b n"] | None,
    mask: Bool[Array, "b _"],
    *,
    later: bool,
) -> Int[Array, "b _"]:
    """Positions of a prefix and of the words behind it, which count its valid tokens.

    Of the words alone, where the prefix was put in at an earlier step (`later`).
    """
    if position_ids is None:
        position_ids = jnp.maximum(count_valid(mask), 0)
    words = prefix.sum(axis=1, keepdims=True) + jnp.asarray(position_ids)
    if later:
        return words
    return jnp.concatenate([jnp.maximum(count_valid(prefix), 0), words], axis=1)
