"""Layers of one weight: dense ones, convolutions and embeddings, also with another in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.adapt.base import is_dense
from mmjax.core.typing import Array

Layer = Literal["dense", "convolution", "embedding"]


def layer_of(module: nn.Module) -> Layer | None:
    """What kind of layer a module is; None for any other, and for convolutions in groups."""
    if is_dense(module):
        return "dense"
    if isinstance(module, nn.Embed):
        return "embedding"
    plain = type(module) is nn.Conv and module.feature_group_count == 1 and module.mask is None
    return "convolution" if plain else None


def weight_of(params: Mapping[str, Any]) -> str:
    """What the weight is called among a layer's parameters."""
    return "embedding" if "embedding" in params else "kernel"


def inputs_of(module: nn.Module, shape: tuple[int, ...]) -> int:
    """How many axes of a weight of this shape stand before those of the outputs."""
    if layer_of(module) != "dense":
        return len(shape) - 1
    axis = getattr(module, "axis", -1)
    return len(axis) if isinstance(axis, tuple) else 1


def with_weight(module: Any, given: Array, weight: Array, inputs: int) -> Array:
    """What the layer makes with another weight, of other outputs maybe, and without its bias.

    `inputs` axes of the weight are contracted.
    """
    kind = layer_of(module)
    if kind == "embedding":
        return jnp.take(weight, given, axis=0)
    if kind == "dense":
        return jnp.tensordot(given, weight, inputs)
    # Strides, borders and dilation are the layer's own.
    other = module.clone(parent=None, name=None, features=weight.shape[-1], use_bias=False)
    return other.apply({"params": {"kernel": weight}}, given)
