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
from mmjax.explain.scores import Choice
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
    sequence in the fusion. What a token owes itself, the unit matrix that the rule begins with, is
    left out, since no attention brought it.
    """

    about: ClassVar[str] = (
        "attention times its gradient, followed through all layers: which tokens the score owes to "
        "the attention paid to them"
    )
    signed: ClassVar[bool] = False
    add_up: ClassVar[bool] = False

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        return maps_lib.refused(subject, batch)

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        maps = maps_lib.maps_of(subject, variables, batch, choice, gradients=True)
        own = {name: relevance(products) for name, products in maps.encoders.items()}
        weights, spans = maps_lib.joints(maps, subject.modalities)
        whole = None if weights is None else relevance(weights)
        found = through(subject, maps, own, whole, spans)
        itself = through(
            subject,
            maps,
            {name: _unit(one) for name, one in own.items()},
            None if whole is None else _unit(whole),
            spans,
        )
        rest = {name: values - itself[name] for name, values in found.items()}
        return maps_lib.placed(subject, batch, rest)


def _unit(values: Float[Array, "b n n"]) -> Float[Array, "b n n"]:
    return jnp.broadcast_to(jnp.eye(values.shape[-1], dtype=values.dtype), values.shape)
