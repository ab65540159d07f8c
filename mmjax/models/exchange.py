"""One exchange of tokens between encoders that halt between their blocks."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Tokens
from mmjax.core.typing import Array, Dtype, Float
from mmjax.nn.dense import dense, parameter


class Exchange(nn.Module, kw_only=True):
    """x + tanh(gate) W(fused): each modality's tokens, and what a fusion makes of all of them.

    A token gets back its own fused one and the fused summary, projected to its encoder's width. The
    gates, one a modality, start at 0 (Flamingo, Alayrac et al. 2022), so that pretrained encoders
    start as they were. Padding stays as it is.
    """

    fusion: nn.Module
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: Mapping[str, Tokens], *, train: bool
    ) -> dict[str, Float[Array, "b n d"]]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        fused = self.fusion(dict(tokens), train=train)
        found = {}
        for name, one in tokens.items():
            start, stop = fused.spans[name]
            width = one.values.shape[-1]
            back = fused.values[:, start:stop] + fused.pooled[:, None]
            back = dense(width, ("joined", "embed"), name=f"{name}_back", **types)(back)
            zero = nn.initializers.zeros
            gate = parameter(self, f"{name}_gate", (1,), ("norm",), init=zero, **types)
            back = jnp.where(one.mask[..., None], back, 0)
            found[name] = one.values + (jnp.tanh(gate) * back).astype(one.values.dtype)
        return found
