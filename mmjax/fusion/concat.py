"""Concatenation and projection: a deep fusion network."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import assemble, by_name, project
from mmjax.nn.dense import ACTIVATIONS, dense
from mmjax.nn.transformer import Activation


class Concat(nn.Module, kw_only=True):
    """[V_text; V_image; ...] W, then `depth - 1` further dense layers, an activation before each.

    The modalities enter in the order of their names, an absent one as zeros.
    """

    width: int = 256
    depth: int = 1
    activation: Activation = "gelu"
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        projected = project(tokens, self.width, **types)
        pooled = jnp.concatenate([projected[name].pooled for name in by_name(projected)], axis=-1)
        for layer in range(self.depth):
            if layer:
                pooled = ACTIVATIONS[self.activation](pooled)
            pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
            pooled = dense(self.width, ("embed", "joined"), name=f"layer_{layer}", **types)(pooled)
        return assemble(projected, pooled, add_pooled=True)
