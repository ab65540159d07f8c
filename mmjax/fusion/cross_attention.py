"""Cross-attention between the modalities."""

from __future__ import annotations

from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array
from mmjax.fusion.attention_fusion import AttentionFusion, with_values
from mmjax.fusion.attention_maps import sown, split
from mmjax.fusion.base import assemble, project
from mmjax.nn.gated_block import TanhGatedBlock
from mmjax.nn.transformer import Block


class CrossAttention(AttentionFusion, kw_only=True):
    """Each querying modality attends to the tokens of all the others, `depth` times.

    `queries` names the modalities that query; all of them if empty. A block is cross-attention and
    an MLP, both with a pre-norm residual (the cross-attention layers of ViLBERT, Lu et al. 2019,
    and LXMERT, Tan and Bansal 2019, normalise after). With `gated`, each branch is multiplied by
    the tanh of a gate that starts at 0 (Flamingo, Alayrac et al. 2022), and there is no final norm:
    training starts from the projected tokens themselves. Each modality's own summary is its
    projected `pooled` plus the mean of its attended tokens; `pooled` projects the concatenated
    summaries, in the order of the modalities' names.
    """

    queries: tuple[str, ...] = ()
    gated: bool = False

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        for name in self.queries:
            if name not in tokens:
                raise ConfigError(
                    109,
                    f"no modality '{name}' to query",
                    where="model.fusion.queries",
                    fix=nearest(name, tokens),
                )
        projected = project(tokens, self.width, **self.types())
        attended = dict(projected)
        maps: dict[str, Array] = {}
        for name in self.queries or tuple(projected):
            own = projected[name]
            others = {other: one for other, one in projected.items() if other != name}
            if not others:
                continue
            masks = {other: one.mask for other, one in others.items()}
            transformer = self.transformer(
                name,
                self_attention=False,
                cross_attention=True,
                block=TanhGatedBlock if self.gated else Block,
                final_norm=not self.gated,
            )
            context = tuple(one.values for one in others.values())
            values = transformer(own.values, own.mask, context, tuple(masks.values()), train=train)
            attended[name] = with_values(own, values)
            weights = sown(self, (name, "stack"), ("cross_attention",))
            if weights is not None:
                maps |= split(weights, {name: own.mask}, masks)
        pooled = self.join_summaries(attended, train=train)
        return assemble(attended, pooled, attention=maps or None)
