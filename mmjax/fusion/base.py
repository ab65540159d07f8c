"""What every fusion shares: projecting the modalities to one width, and laying out the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import jax.numpy as jnp

from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array, Bool, Dtype, Float
from mmjax.nn.dense import dense


def present(tokens: Tokens) -> Bool[Array, "b"]:
    """Which rows have the modality at all."""
    return tokens.mask.any(axis=1)


def by_name(names: Iterable[str]) -> list[str]:
    """The order in which parameters meet the modalities.

    A dictionary that passes through `jax.jit` comes out in this order, so a fusion whose parameters
    followed the dictionary's own would compute something else inside than outside.
    """
    return sorted(names)


def project(
    tokens: Mapping[str, Tokens], width: int, *, dtype: Dtype, param_dtype: Dtype
) -> dict[str, Tokens]:
    """Every modality in `width`: one dense layer for its tokens, one for its `pooled`.

    To be called inside a compact method. Padding tokens and the `pooled` of absent rows are 0.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype}
    projected = project_values(tokens, width, **types)
    for name, one in projected.items():
        pooled = dense(width, ("embed", "joined"), name=f"{name}_pooled", **types)(one.pooled)
        pooled = jnp.where(present(one)[:, None], pooled, 0)
        projected[name] = dataclasses.replace(one, pooled=pooled)
    return projected


def project_values(
    tokens: Mapping[str, Tokens], width: int, *, dtype: Dtype, param_dtype: Dtype
) -> dict[str, Tokens]:
    """`project` of the tokens alone; their `pooled` stays as it is."""
    types = {"dtype": dtype, "param_dtype": param_dtype}
    projected = {}
    for name, one in tokens.items():
        values = dense(width, ("embed", "joined"), name=f"{name}_tokens", **types)(one.values)
        values = jnp.where(one.mask[..., None], values, 0)
        projected[name] = dataclasses.replace(one, values=values)
    return projected


def assemble(
    tokens: Mapping[str, Tokens],
    pooled: Float[Array, "b d"],
    *,
    modality_weights: Float[Array, "b modality"] | None = None,
    attention: Mapping[str, Array] | None = None,
    add_pooled: bool = False,
) -> Fused:
    """`Fused` from projected tokens in config order.

    A method that only pools sets `add_pooled`, so that its vector reaches every valid token. A row
    without any modality gets exactly 0, and gives no gradient to anything.
    """
    spans, start = {}, 0
    for name, one in tokens.items():
        spans[name] = (start, start + one.values.shape[1])
        start += one.values.shape[1]
    values = jnp.concatenate([one.values for one in tokens.values()], axis=1)
    mask = jnp.concatenate([one.mask for one in tokens.values()], axis=1)
    pooled = jnp.where(mask.any(axis=1)[:, None], pooled, 0)
    if add_pooled:
        values = jnp.where(mask[..., None], values + pooled[:, None], 0)
    return Fused(values, mask, pooled, spans, modality_weights, attention)
