"""Low-rank multimodal fusion."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import assemble, by_name, project
from mmjax.nn.dense import fan_in, parameter


class LowRank(nn.Module, kw_only=True):
    """sum_r w_r prod_m W_m^(r) [x_m; 1] + bias.

    LMF (Liu et al. 2018, section 3.2): the outer product of all [x_m; 1] times a weight tensor of
    rank `rank`, without making either. `{modality}_kernel` [width, rank, width] and
    `{modality}_constant` [rank, width] are W_m, the latter its column for the 1. An absent modality
    enters as [0; 1], so it leaves its constants in the product; they start at 1, which is neutral.
    The weights w_r start with the variance that gives the result 1, each factor having the mean
    square 2.
    """

    width: int = 256
    rank: int = 4
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        projected = project(tokens, self.width, **types)
        product = jnp.ones((), self.dtype)
        for name in by_name(projected):
            kernel = parameter(
                self,
                f"{name}_kernel",
                (self.width, self.rank, self.width),
                ("embed", "joined", "joined"),
                init=_each_rank,
                **types,
            )
            constant = parameter(
                self,
                f"{name}_constant",
                (self.rank, self.width),
                ("joined", "joined"),
                init=nn.initializers.ones,
                **types,
            )
            pooled = projected[name].pooled
            pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
            product = product * (jnp.einsum("bd,dre->bre", pooled, kernel) + constant)
        by_rank = parameter(
            self,
            "rank_weights",
            (self.rank,),
            ("joined",),
            init=nn.initializers.normal((self.rank * 2 ** len(projected)) ** -0.5),
            **types,
        )
        bias = parameter(
            self, "bias", (self.width,), ("joined",), init=nn.initializers.zeros, **types
        )
        pooled = jnp.einsum("r,bre->be", by_rank, product) + bias
        return assemble(projected, pooled, add_pooled=True)


def _each_rank(key, shape, dtype):
    """Variance 1 / inputs in every rank, whose kernels stand side by side."""
    inputs, rank, outputs = shape
    return fan_in(key, (inputs, rank * outputs), dtype).reshape(shape)
