"""Attention bottlenecks: modalities exchange what fits into a few learned tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array
from mmjax.fusion.attention_fusion import AttentionFusion, refuse_name, somewhere, with_values
from mmjax.fusion.attention_maps import sown, split
from mmjax.fusion.base import assemble, by_name, present, project
from mmjax.nn.pooling import masked_mean
from mmjax.nn.transformer import Block


class BottleneckBlock(nn.Module, kw_only=True):
    """Every modality's own block over [its tokens; the bottleneck].

    The bottleneck goes on as the mean of the versions that a row's present modalities made of it
    (Nagrani et al. 2021, equations 8 and 9).
    """

    settings: Mapping[str, Any]

    @nn.compact
    def __call__(
        self, carried: tuple[dict[str, Array], Array], masks: dict[str, Array], *, train: bool
    ) -> tuple[dict[str, Array], Array]:
        values, bottleneck = carried
        updated, versions, here = {}, [], []
        for name in by_name(values):
            mask = masks[name]
            here.append(mask.any(axis=1))
            whole = jnp.repeat(here[-1][:, None], bottleneck.shape[1], axis=1)
            both = Block(**self.settings, name=name)(
                jnp.concatenate([values[name], bottleneck], axis=1),
                jnp.concatenate([mask, whole], axis=1),
                train=train,
            )
            updated[name] = both[:, : mask.shape[1]]
            versions.append(einops.rearrange(both[:, mask.shape[1] :], "b n d -> b (n d)"))
        mean = masked_mean(jnp.stack(versions, axis=1), jnp.stack(here, axis=1))
        return updated, mean.reshape(bottleneck.shape)


class Bottleneck(AttentionFusion, kw_only=True):
    """The multimodal bottleneck transformer (MBT, Nagrani et al. 2021).

    Of `depth` layers, those before `fusion_layer` are of each modality alone; from there on each
    modality also attends to `bottlenecks` learned tokens, through which all exchange. What a layer
    writes is read in the next, so at least two must be left. `pooled` is that of `cross_attention`.
    Raises ConfigError otherwise.
    """

    depth: int = 4
    fusion_layer: int = 2
    bottlenecks: int = 4

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        refuse_name(tokens, "bottleneck")
        if not 0 <= self.fusion_layer <= self.depth - 2:
            raise ConfigError(
                109,
                f"fusion_layer={self.fusion_layer} leaves no two of {self.depth} layers to "
                "exchange in",
                where="model.fusion.fusion_layer",
                fix=f"0 to {self.depth - 2}" if self.depth > 1 else "a depth of 2 or more",
            )
        projected = project(tokens, self.width, **self.types())
        masks = {name: one.mask for name, one in projected.items()}
        values = {name: one.values for name, one in projected.items()}
        if self.fusion_layer:
            alone = {"depth": self.fusion_layer, "final_norm": False}
            values = {
                name: self.transformer(f"{name}_alone", **alone)(one, masks[name], train=train)
                for name, one in values.items()
            }
        start = self.learned("bottleneck", self.bottlenecks)
        shared = jnp.broadcast_to(start, (next(iter(masks.values())).shape[0], *start.shape))
        stack = self.stack(BottleneckBlock, depth=self.depth - self.fusion_layer)
        values, _ = stack((values, shared), masks, train=train)
        attended = {
            name: with_values(one, self.norm(f"{name}_norm")(values[name]))
            for name, one in projected.items()
        }
        pooled = self.join_summaries(attended, train=train)
        return assemble(attended, pooled, attention=self._maps(projected))

    def _maps(self, tokens: Mapping[str, Tokens]) -> dict[str, Array] | None:
        """Weights by queries and keys; those of the bottleneck are the mean that it goes on as.

        Keys and queries that are the bottleneck have only the layers from `fusion_layer` on.
        """
        whole = somewhere(tokens, self.bottlenecks)
        here = jnp.stack([present(one) for one in tokens.values()]).sum(axis=0)
        share = (1.0 / jnp.maximum(here, 1))[:, None, None, None]
        maps: dict[str, Array] = {}
        among: list[Array] = []
        for name, one in tokens.items():
            weights = sown(self, ("stack",), (name, "attention"))
            if weights is None:
                return None
            groups = {name: one.mask, "bottleneck": whole & present(one)[:, None]}
            own = split(weights, groups, groups)
            among.append(own.pop("bottleneck<-bottleneck"))
            own[f"bottleneck<-{name}"] = own[f"bottleneck<-{name}"] * share.astype(weights.dtype)
            before = (
                sown(self, (f"{name}_alone", "stack"), ("attention",))
                if self.fusion_layer
                else None
            )
            if before is not None:
                alone = split(before, {name: one.mask}, {name: one.mask})[f"{name}<-{name}"]
                own[f"{name}<-{name}"] = jnp.concatenate([alone, own[f"{name}<-{name}"]])
            maps |= own
        maps["bottleneck<-bottleneck"] = sum(among) * share.astype(among[0].dtype)
        return maps
