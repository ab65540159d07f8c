"""Spans of time and of channels that are hidden in training (SpecAugment)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder


def random_spans(
    key: Array, lengths: Int[Array, "b"], size: int, *, rate: float, span: int, least: int = 0
) -> Bool[Array, "b n"]:
    """Spans of `span` positions of `size`, True inside (SpecAugment, Park et al. 2019).

    Of a row of length n, `floor(rate n / span + u)` spans begin at different places, u uniform in
    [0, 1) and the same for all rows, at least `least` and never beyond the row's end. They may
    overlap, so that `rate` is the most that is covered on average; as transformers'
    `_compute_mask_indices`.
    """
    rounding, places = jax.random.split(key)
    counts = jnp.floor(rate * lengths / span + jax.random.uniform(rounding)).astype(jnp.int32)
    counts = jnp.maximum(counts, least)
    counts = jnp.where(counts * span > size, size // span, counts)
    starts = jnp.maximum(lengths - (span - 1), 0)
    counts = jnp.minimum(counts, starts)
    possible = jnp.arange(size)[None] < starts[:, None]
    scores = jnp.where(possible, jax.random.uniform(places, possible.shape), jnp.inf)
    rank = jnp.argsort(jnp.argsort(scores, axis=1), axis=1)
    chosen = possible & (rank < counts[:, None])
    begun = jnp.cumsum(chosen, axis=1)
    over = jnp.pad(begun, ((0, 0), (span, 0)))[:, :size]
    return begun > over


class SpecAugmented(TransformerEncoder, kw_only=True):
    """Settings of an encoder that hides spans of its frames and channels in training.

    Rates, spans and least numbers are those of `random_spans`; the rng stream is "mask".
    """

    mask_time_rate: float = 0.0
    mask_time_span: int = 10
    mask_time_least: int = 0
    mask_feature_rate: float = 0.0
    mask_feature_span: int = 10
    mask_feature_least: int = 0

    def hide_frames(
        self,
        values: Float[Array, "b t d"],
        mask: Bool[Array, "b t"],
        hidden: Float[Array, "d"] | float = 0.0,
        *,
        train: bool,
    ) -> Float[Array, "b t d"]:
        """Spans of valid frames become `hidden`."""
        if not train or self.mask_time_rate == 0.0:
            return values
        spans = random_spans(
            self.make_rng("mask"),
            mask.sum(axis=1),
            values.shape[1],
            rate=self.mask_time_rate,
            span=self.mask_time_span,
            least=self.mask_time_least,
        )
        return jnp.where(spans[..., None], hidden, values)

    def hide_channels(self, values: Float[Array, "b t d"], *, train: bool) -> Float[Array, "b t d"]:
        """Spans of channels become 0 over a whole row."""
        if not train or self.mask_feature_rate == 0.0:
            return values
        spans = random_spans(
            self.make_rng("mask"),
            jnp.full(values.shape[:1], values.shape[2]),
            values.shape[2],
            rate=self.mask_feature_rate,
            span=self.mask_feature_span,
            least=self.mask_feature_least,
        )
        return jnp.where(spans[:, None], 0, values)
