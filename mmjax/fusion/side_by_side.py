"""Modalities that are projected and laid side by side, none of which sees another."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import assemble, by_name, project
from mmjax.nn.dense import dense


class SideBySide(nn.Module, kw_only=True):
    """`pooled` is [V_text; V_image; ...] W, in the order of names, an absent modality as zeros.

    Unlike those of `concat`, the tokens of a modality hold nothing of the others: for tasks that
    compare them.
    """

    width: int = 256
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        projected = project(tokens, self.width, **types)
        parts = [projected[name].pooled for name in by_name(projected)]
        joined = dense(self.width, ("embed", "joined"), name="joined", **types)
        return assemble(projected, joined(jnp.concatenate(parts, axis=-1)))
