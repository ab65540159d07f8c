"""Weighted sum of the modalities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import assemble, by_name, present, project


class WeightedSum(nn.Module, kw_only=True):
    """alpha V_text + beta V_image + gamma V_audio.

    `weights="fixed"` takes `values` by modality (equal shares if empty), `"learned"` trains them
    freely from there, `"softmax"` trains their logits, so that they stay positive and sum to 1;
    parameters are in the order of the modalities' names. `mmjax.fusion.solve_weights` finds the
    `values` of least squared error. With `renormalise`, the weights of a row's present modalities
    are divided by their sum.
    """

    width: int = 256
    weights: Literal["fixed", "learned", "softmax"] = "softmax"
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    renormalise: bool = False
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        names = list(tokens)
        start = self.values or dict.fromkeys(names, 1.0 / len(names))
        if set(start) != set(names):
            raise ConfigError(
                109,
                f"weighted_sum has values for {sorted(start)}",
                where="model.fusion.values",
                fix=f"one value each for {', '.join(names)}",
            )
        if self.weights == "softmax" and min(start.values()) <= 0:
            raise ConfigError(
                109,
                f"softmax weights cannot start from {min(start.values())}",
                where="model.fusion.values",
                fix="positive values, or weights='learned' or 'fixed'",
            )
        ordered = by_name(names)
        weights = jnp.asarray([start[name] for name in ordered], jnp.float32)
        if self.weights == "learned":
            weights = self.param("weights", lambda key: weights)
        elif self.weights == "softmax":
            weights = jax.nn.softmax(self.param("logits", lambda key: jnp.log(weights)))
        weights = jnp.stack([weights[ordered.index(name)] for name in names])
        projected = project(tokens, self.width, dtype=self.dtype, param_dtype=self.param_dtype)
        here = jnp.stack([present(one) for one in projected.values()], axis=1)
        applied = jnp.where(here, weights[None], 0.0)
        if self.renormalise:
            total = applied.sum(axis=1, keepdims=True)
            applied = jnp.where(total == 0, 0.0, applied / jnp.where(total == 0, 1.0, total))
        stacked = jnp.stack([one.pooled for one in projected.values()], axis=1)
        pooled = jnp.einsum("bm,bmd->bd", applied.astype(stacked.dtype), stacked)
        return assemble(projected, pooled, modality_weights=applied, add_pooled=True)
