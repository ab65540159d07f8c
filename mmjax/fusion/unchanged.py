"""Modalities that are laid side by side as their encoders made them."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import assemble, present, project


class Unchanged(nn.Module, kw_only=True):
    """Tokens of `width` as they are, those of another width projected to it.

    `pooled` is the mean of the modalities that are there. For a pretrained decoder behind the
    encoder that it was trained with, whose tokens it knows.
    """

    width: int = 256
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        others = {n: one for n, one in tokens.items() if one.values.shape[-1] != self.width}
        projected = project(others, self.width, **types)
        laid = {}
        for name, one in tokens.items():
            here, own = present(one), projected.get(name, one)
            values = jnp.where(one.mask[..., None], own.values, 0).astype(self.dtype)
            pooled = jnp.where(here[:, None], own.pooled, 0).astype(self.dtype)
            laid[name] = Tokens(values, one.mask, pooled)
        count = sum(present(one).astype(self.dtype) for one in laid.values())
        total = sum(one.pooled for one in laid.values())
        return assemble(laid, total / jnp.maximum(count, 1)[:, None])
