"""Attention followed through the layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain import maps as maps_lib
from mmjax.explain.base import PartMethod
from mmjax.explain.features import Parts
from mmjax.explain.maps import Maps
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


def rollout(weights: Float[Array, "layers b n n"]) -> Float[Array, "b n n"]:
    """The product of (A + I) / 2 over the layers, rows normalised (Abnar and Zuidema 2020, eq. 1).

    `weights` are means over heads, the first layer first; the result says how much of each input
    token is in each output token.
    """
    whole = jnp.eye(weights.shape[-1], dtype=weights.dtype)[None]
    for layer in weights:
        whole = _half(layer) @ whole
    return whole


def _half(weights: Float[Array, "b n n"]) -> Float[Array, "b n n"]:
    mixed = (weights + jnp.eye(weights.shape[-1], dtype=weights.dtype)) / 2
    return mixed / mixed.sum(axis=-1, keepdims=True)


def through(
    subject: Subject,
    maps: Maps,
    of_encoder: Mapping[str, Array],
    of_fusion: Array | None,
    spans: Any,
) -> dict[str, Array]:
    """What the summary owes each token that goes into the encoders: the fusion's share of a
    modality's tokens, times the encoder's of its own.
    """
    found = {}
    after = {} if of_fusion is None else maps_lib.read_from(of_fusion, spans, maps.masks)
    for name in subject.modalities:
        own = of_encoder.get(name)
        if name in after and own is not None and after[name].shape[1] == own.shape[1]:
            found[name] = jnp.einsum("bn,bnm->bm", after[name], own)
        elif name in after:
            found[name] = after[name]
        elif own is not None:
            encoder = subject.module.encoders[name]
            mask, pool = maps.masks.get(name), maps.pools.get(name)
            found[name] = maps_lib.from_encoder(encoder, own, mask, pool)
    return found


@dataclasses.dataclass(frozen=True)
class Rollout(PartMethod):
    """Attention rollout (Abnar and Zuidema 2020) through each encoder and the fusion.

    The tokens of all modalities are one sequence in the fusion. It tells where information may
    flow, whatever is explained: of another class it is the same.
    """

    about: ClassVar[str] = (
        "how much of each token reaches the summary when attention is followed through all layers"
    )
    signed: ClassVar[bool] = False
    add_up: ClassVar[bool] = False

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        return maps_lib.refused(subject, batch)

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        maps = maps_lib.maps_of(subject, variables, batch, choice)
        own = {name: rollout(weights) for name, weights in maps.encoders.items()}
        weights, spans = maps_lib.joints(maps, subject.modalities)
        whole = None if weights is None else rollout(weights)
        return maps_lib.placed(subject, batch, through(subject, maps, own, whole, spans))
