"""A joint space by projection."""

from __future__ import annotations

import math

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Embeddings, Tokens
from mmjax.core.typing import Array, Dtype, Float
from mmjax.encoders.dual_tower import unit_length
from mmjax.fusion.base import present
from mmjax.nn.dense import ACTIVATIONS, Activation, dense, parameter


class JointSpace(nn.Module, kw_only=True):
    """Each modality's `pooled` as a unit vector in one space of `projection_dim`.

    One dense layer a modality without bias, as in CLIP (Radford et al. 2021), after `depth - 1`
    layers of `hidden` channels with an activation each, as in SimCLR's head (Chen et al. 2020). An
    absent modality is embedded as 0: it is no pair for a loss, which wants its mask. `logit_scale`
    and `logit_bias` are the first values of the logarithm of the temperature's inverse and of the
    bias (None: there is none).
    """

    projection_dim: int = 256
    depth: int = 1
    hidden: int = 512
    activation: Activation = "gelu"
    dropout: float = 0.0
    logit_scale: float = math.log(1 / 0.07)
    logit_bias: float | None = None
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Embeddings:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = {}
        for name, one in tokens.items():
            here = present(one)[:, None]
            joined = jnp.where(here, one.pooled, 0)
            for layer in range(self.depth - 1):
                joined = dense(
                    self.hidden, ("embed", "joined"), name=f"{name}_hidden_{layer}", **types
                )(joined)
                joined = ACTIVATIONS[self.activation](joined)
            joined = nn.Dropout(self.dropout, deterministic=not train)(joined)
            joined = dense(
                self.projection_dim,
                ("embed", "joined"),
                use_bias=False,
                name=f"{name}_projection",
                **types,
            )(joined)
            values[name] = unit_length(jnp.where(here, joined, 0))
        bias = None if self.logit_bias is None else self._scalar("logit_bias", self.logit_bias)
        scale = jnp.exp(self._scalar("logit_scale", self.logit_scale))
        return Embeddings(values, scale, bias, tokens)

    def _scalar(self, name: str, first: float) -> Float[Array, ""]:
        init = nn.initializers.constant(first)
        types = {"dtype": jnp.float32, "param_dtype": self.param_dtype}
        return parameter(self, name, (), (), init=init, **types)
