"""Attention weights by "queries<-keys", from what a fusion's attention layers sowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Float

Masks = Mapping[str, Bool[Array, "b _"]]
"""The valid tokens of each group, in the order in which the groups stand behind each other."""


def sown(
    module: nn.Module, stack: Sequence[str], attention: Sequence[str]
) -> Float[Array, "layers b k n m"] | None:
    """The weights of one attention in every layer of a stack, at its last call.

    `stack` is the path of the `Stack` below `module`, `attention` that of the `Attention` below a
    block of it. None where the collection `intermediates` is not mutable.
    """
    if not module.is_mutable_collection("intermediates"):
        return None
    found = module.variables["intermediates"]
    for name in stack:
        found = found[name]

    def weights(layer: str) -> Array:
        inner = found[layer]
        for name in attention:
            inner = inner[name]
        return inner["weights"][-1]

    if "layers" in found:
        return weights("layers")
    layers = [name for name in found if name.startswith("layer_")]
    return jnp.stack([weights(f"layer_{index}") for index in range(len(layers))])


def split(
    weights: Float[Array, "layers b k n m"], queries: Masks, keys: Masks
) -> dict[str, Float[Array, "layers b k _ _"]]:
    """`weights` by "queries<-keys", exactly 0 where either token is padding."""
    maps, row = {}, 0
    for asking, query_mask in queries.items():
        column = 0
        for asked, key_mask in keys.items():
            rows, columns = query_mask.shape[1], key_mask.shape[1]
            part = weights[..., row : row + rows, column : column + columns]
            valid = query_mask[:, None, :, None] & key_mask[:, None, None, :]
            maps[f"{asking}<-{asked}"] = jnp.where(valid, part, 0)
            column += columns
        row += rows
    return maps
