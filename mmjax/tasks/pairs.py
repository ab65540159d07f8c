"""What stands between two parts of a text: a head of two halves and what all modalities say."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Dtype, Float, Int
from mmjax.nn.dense import ACTIVATIONS, dense, fan_in, parameter

Pool = Literal["mean", "first"]
"""What stands for the tokens of a part."""

Outputs = dict[str, Array]


def pair_parameters(
    module: nn.Module,
    values: Float[Array, "b n d"],
    pooled: Float[Array, "b d"],
    *,
    names: tuple[str, str],
    hidden: int,
    labels: int,
    dtype: Dtype,
    param_dtype: Dtype,
) -> Outputs:
    """All of a pair head that has parameters, to be made in a head: it travels with its outputs.

    Since a mean over tokens and a dense layer change places, each token is read as either half
    before it is known which tokens a part has.
    """
    types = {"dtype": dtype, "param_dtype": param_dtype}
    axes: tuple[str | None, ...] = ("embed", "mlp")
    first, second = names
    kernel, bias = (hidden, labels), (labels,)
    return {
        first: dense(hidden, axes, name=first, use_bias=False, **types)(values),
        second: dense(hidden, axes, name=second, use_bias=False, **types)(values),
        "all": dense(hidden, axes, name="all", **types)(pooled),
        "kernel": parameter(module, "pair_kernel", kernel, ("mlp", "labels"), init=fan_in, **types),
        "bias": parameter(
            module, "pair_bias", bias, ("labels",), init=nn.initializers.zeros, **types
        ),
    }


def pair_logits(
    outputs: Outputs,
    first: Float[Array, "b p h"],
    second: Float[Array, "b q h"],
) -> Float[Array, "b p q v"]:
    """The logits of every pair of parts, in float32."""
    both = first[:, :, None] + second[:, None] + outputs["all"][:, None, None]
    seen = ACTIVATIONS["gelu"](both.astype(jnp.float32))
    kernel = outputs["kernel"].astype(jnp.float32)
    return jnp.einsum("bpqh,hv->bpqv", seen, kernel, precision="highest") + outputs["bias"]


def of_parts(
    values: Float[Array, "b n h"],
    offsets: Int[Array, "b n 2"],
    mask: Bool[Array, "b n"],
    parts: Int[Array, "b p 2"],
    pool: Pool,
) -> Float[Array, "b p h"]:
    """The tokens of each part together: those that share a character with it; 0 without any."""
    starts, ends = offsets[:, None, :, 0], offsets[:, None, :, 1]
    inside = (starts < parts[..., 1:]) & (ends > parts[..., :1]) & (ends > starts)
    inside &= mask[:, None] & (parts[..., :1] >= 0)
    if pool == "first":
        inside &= jnp.cumsum(inside, axis=-1) == 1
    shares = inside / jnp.maximum(inside.sum(axis=-1, keepdims=True), 1)
    return jnp.einsum("bpn,bnh->bph", shares.astype(values.dtype), values, precision="highest")
