"""Merged attention: one transformer over the tokens of all modalities."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array
from mmjax.fusion.attention_fusion import (
    AttentionFusion,
    mean_summary,
    refuse_name,
    somewhere,
    with_values,
)
from mmjax.fusion.attention_maps import sown, split
from mmjax.fusion.base import assemble, project
from mmjax.nn.pooling import masked_mean


class MergedAttention(AttentionFusion, kw_only=True):
    """A single stream: all tokens behind each other, in one transformer (UNITER, Chen et al. 2020;
    ViLT, Kim et al. 2021).

    A learned embedding is added to the tokens of each modality. `pooled` is the output of a learned
    class token, or the mean of all valid tokens, plus the mean of the encoders' own projected
    summaries.
    """

    depth: int = 2
    pooling: Literal["cls", "mean"] = "cls"

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        refuse_name(tokens, "cls")
        projected = project(tokens, self.width, **self.types())
        values, masks = [], {}
        if self.pooling == "cls":
            masks["cls"] = somewhere(projected, 1)
            first = self.learned("cls", 1)
            values.append(jnp.broadcast_to(first, (masks["cls"].shape[0], *first.shape)))
        for name, one in projected.items():
            values.append(one.values + self.learned(f"{name}_embedding", 1))
            masks[name] = one.mask
        mask = jnp.concatenate(list(masks.values()), axis=1)
        merged = self.transformer("transformer")(jnp.concatenate(values, axis=1), mask, train=train)
        stops = [0]
        for group in masks.values():
            stops.append(stops[-1] + group.shape[1])
        parts: dict[str, Array] = {
            name: merged[:, start:stop]
            for name, start, stop in zip(masks, stops, stops[1:], strict=False)
        }
        pooled = parts["cls"][:, 0] if "cls" in parts else masked_mean(merged, mask)
        weights = sown(self, ("transformer", "stack"), ("attention",))
        return assemble(
            {name: with_values(one, parts[name]) for name, one in projected.items()},
            pooled + mean_summary(projected),
            attention=None if weights is None else split(weights, masks, masks),
        )
