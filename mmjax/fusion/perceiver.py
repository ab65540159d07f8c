"""Perceiver: a fixed number of learned latents read the tokens of all modalities."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Fused, Tokens
from mmjax.fusion.attention_fusion import (
    AttentionFusion,
    mean_summary,
    refuse_name,
    somewhere,
)
from mmjax.fusion.attention_maps import sown, split
from mmjax.fusion.base import assemble, project
from mmjax.fusion.blocks import CrossFirstBlock
from mmjax.nn.pooling import masked_mean


class Perceiver(AttentionFusion, kw_only=True):
    """`latents` learned queries that attend to all tokens, then to each other, `depth` times.

    As in Perceiver (Jaegle et al. 2021) and BLIP-2's Q-Former (Li et al. 2023): the cost is linear
    in the number of tokens. A block is cross-attention, self-attention and an MLP, pre-norm, each
    block with parameters of its own. `pooled` is the mean of the latents plus the mean of the
    encoders' own projected summaries, and is added to every token. With `append_latents`, the
    latents stand behind the modalities' tokens, as the span `latents`.
    """

    depth: int = 2
    latents: int = 16
    append_latents: bool = False

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        refuse_name(tokens, "latents")
        projected = project(tokens, self.width, **self.types())
        masks = {name: one.mask for name, one in projected.items()}
        here = somewhere(projected, self.latents)
        start = self.learned("latents", self.latents)
        transformer = self.transformer("transformer", block=CrossFirstBlock, cross_attention=True)
        latents = transformer(
            jnp.broadcast_to(start, (len(here), *start.shape)),
            here,
            tuple(one.values for one in projected.values()),
            tuple(masks.values()),
            train=train,
        )
        stack = ("transformer", "stack")
        cross, own = (sown(self, stack, (part,)) for part in ("cross_attention", "attention"))
        maps = None
        if cross is not None and own is not None:
            among = {"latents": here}
            maps = split(cross, among, masks) | split(own, among, among)
        pooled = masked_mean(latents, here) + mean_summary(projected)
        fused = assemble(projected, pooled, attention=maps, add_pooled=True)
        if not self.append_latents:
            return fused
        stop = fused.values.shape[1]
        return dataclasses.replace(
            fused,
            values=jnp.concatenate([fused.values, jnp.where(here[..., None], latents, 0)], axis=1),
            mask=jnp.concatenate([fused.mask, here], axis=1),
            spans={**fused.spans, "latents": (stop, stop + self.latents)},
        )
