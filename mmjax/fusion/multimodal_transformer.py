"""MulT: a crossmodal transformer for every ordered pair of modalities."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array
from mmjax.fusion.attention_fusion import AttentionFusion, with_values
from mmjax.fusion.attention_maps import sown, split
from mmjax.fusion.base import assemble, by_name, project
from mmjax.fusion.blocks import CrossFirstBlock
from mmjax.nn.dense import dense


class MultimodalTransformer(AttentionFusion, kw_only=True):
    """The multimodal transformer (MulT, Tsai et al. 2019).

    Each modality (the target) is carried through `depth` crossmodal blocks for each other one (the
    source), whose projected tokens they attend to (equation 4). A target's results are concatenated
    in the order of the sources' names, go through a self-attention transformer of that width and
    `self_depth`, and are projected back to `width`. Positions are the encoders' own. `pooled` is
    that of `cross_attention`. The number of crossmodal transformers grows with the square of the
    number of modalities.
    """

    depth: int = 2
    self_depth: int = 1

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        projected = project(tokens, self.width, **self.types())
        attended: dict[str, Tokens] = {}
        maps: dict[str, Array] = {}
        for target, own in projected.items():
            own_mask = {target: own.mask}
            crossed: list[Array] = []
            for source in by_name(projected):
                if source == target:
                    continue
                one, name = projected[source], f"{target}_from_{source}"
                transformer = self.transformer(
                    name, block=CrossFirstBlock, self_attention=False, cross_attention=True
                )
                crossed.append(
                    transformer(own.values, own.mask, (one.values,), (one.mask,), train=train)
                )
                weights = sown(self, (name, "stack"), ("cross_attention",))
                if weights is not None:
                    maps |= split(weights, own_mask, {source: one.mask})
            joined = jnp.concatenate(crossed or [own.values], axis=-1)
            memory = self.transformer(
                f"{target}_memory",
                depth=self.self_depth,
                mlp_dim=self.mlp_dim * max(len(crossed), 1),
            )(joined, own.mask, train=train)
            weights = sown(self, (f"{target}_memory", "stack"), ("attention",))
            if weights is not None:
                maps |= split(weights, own_mask, own_mask)
            out = dense(self.width, ("embed", "joined"), name=f"{target}_out", **self.types())
            attended[target] = with_values(own, out(memory))
        pooled = self.join_summaries(attended, train=train)
        return assemble(attended, pooled, attention=maps or None)
