"""Attention that matters to the score, followed through the layers."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain import maps as maps_lib
from mmjax.explain.base import PartMethod
from mmjax.explain.features import Parts
from mmjax.explain.rollout import through
from mmjax.explain.score import Choice
from mmjax.explain.subject import Subject


def relevance(products: Float[Array, "layers b n n"]) -> Float[Array, "b n n"]:
    """R = I, then R + A R for each layer (Chefer et al. 2021, equations 3 and 6).

    `products` are the means over heads of max(gradient x attention, 0), the first layer first.
    """
    whole = jnp.eye(products.shape[-1], dtype=products.dtype)[None]
    for layer in products:
        whole = whole + layer @ whole
    return whole


@dataclasses.dataclass(frozen=True)
class AttentionGradients(PartMethod):
    """Gradient times attention through each encoder and the fusion (Chefer et al. 2021).

    The rule for self-attention, equations 5 and 6, over the tokens of all modalities as one
    sequence in the fusion; of the unit matrix that it begins with, what a token owes itself, only
    the class token's is left out.
    """

    about: ClassVar[str] = (
        "attention times its gradient, followed through all layers: which tokens the score owes to "
        "the attention paid to them"
    )
    signed: ClassVar[bool] = False

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        return maps_lib.refused(subject, batch)

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        maps = maps_lib.maps_of(subject, variables, batch, choice, gradients=True)
        own = {name: relevance(products) for name, products in maps.encoders.items()}
        whole, spans = None, {}
        if maps.fusion:
            joined = [
                maps_lib.joint(maps, layer, subject.modalities)
                for layer in range(-maps_lib.depth(maps), 0)
            ]
            whole, spans = relevance(jnp.stack([one for one, _ in joined])), joined[0][1]
        return maps_lib.placed(subject, batch, through(subject, maps, own, whole, spans))
