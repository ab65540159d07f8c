"""Co-attention: all modalities attend to each other at the same time, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array
from mmjax.fusion.attention_fusion import AttentionFusion, with_values
from mmjax.fusion.attention_maps import sown, split
from mmjax.fusion.base import assemble, by_name, project
from mmjax.fusion.blocks import CrossFirstBlock


class CoAttentionBlock(nn.Module, kw_only=True):
    """Every modality's own block, over the tokens that the layer before left to all of them."""

    settings: Mapping[str, Any]

    @nn.compact
    def __call__(
        self, values: dict[str, Array], masks: dict[str, Array], *, train: bool
    ) -> dict[str, Array]:
        updated = {}
        for name in by_name(values):
            others = [other for other in by_name(values) if other != name]
            block = CrossFirstBlock(**self.settings, cross_attention=bool(others), name=name)
            updated[name] = block(
                values[name],
                masks[name],
                tuple(values[other] for other in others),
                tuple(masks[other] for other in others),
                train=train,
            )
        return updated


class CoAttention(AttentionFusion, kw_only=True):
    """`depth` times, every modality attends to the others, then to itself, then an MLP.

    The cross-modality layers of LXMERT (Tan and Bansal 2019) and the co-attention of ViLBERT (Lu et
    al. 2019), for any number of modalities, with parameters of its own for each; pre-norm. One
    softmax runs over the tokens of all the others. `pooled` is that of `cross_attention`.
    """

    depth: int = 2

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        projected = project(tokens, self.width, **self.types())
        masks = {name: one.mask for name, one in projected.items()}
        values = {name: one.values for name, one in projected.items()}
        values = self.stack(CoAttentionBlock)(values, masks, train=train)
        attended = {
            name: with_values(one, self.norm(f"{name}_norm")(values[name]))
            for name, one in projected.items()
        }
        maps: dict[str, Array] = {}
        for name, mask in masks.items():
            own = sown(self, ("stack",), (name, "attention"))
            if own is None:
                break
            others = {other: masks[other] for other in by_name(masks) if other != name}
            cross = sown(self, ("stack",), (name, "cross_attention")) if others else None
            maps |= {} if cross is None else split(cross, {name: mask}, others)
            maps |= split(own, {name: mask}, {name: mask})
        pooled = self.join_summaries(attended, train=train)
        return assemble(attended, pooled, attention=maps or None)
