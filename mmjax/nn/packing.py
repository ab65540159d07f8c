"""Attention among several texts in one row."""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.core.typing import Array, ArrayLike, Bool, Int


def packed_mask(
    segment_ids: Int[ArrayLike, "b n"], *, causal: bool = False
) -> Bool[Array, "b 1 n n"]:
    """Which keys each query may look at: those of its own text, if `causal` up to its own place.

    `segment_ids` are 1, 2, ... for the texts of a row and 0 for padding, which sees and is seen by
    nothing. With `position_ids` that begin anew in each text, a row of texts is encoded as the
    texts alone would be (Krell et al. 2021).
    """
    ids = jnp.asarray(segment_ids)
    mask = (ids[:, None, :, None] == ids[:, None, None, :]) & (ids != 0)[:, None, :, None]
    return mask & jnp.tri(ids.shape[1], dtype=bool) if causal else mask


def within_text(segment_ids: Int[ArrayLike, "b n"]) -> Bool[Array, "b n_1"]:
    """Whether each token but the first goes on the text of the one before: what may be guessed."""
    ids = jnp.asarray(segment_ids)
    return (ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] != 0)
