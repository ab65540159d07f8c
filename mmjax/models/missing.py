"""What stands in for a modality that a row lacks."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Tokens
from mmjax.core.typing import Dtype
from mmjax.fusion.base import present
from mmjax.nn.dense import parameter


class StandIn(nn.Module, kw_only=True):
    """Tokens in which a learnt one, and a learnt `pooled`, are those of each row that has none.

    The token takes the first place, the only one of such a row that is not masked. Other rows stay
    as they are. Of the same idea as the missing-modality tokens of Ma et al. 2022 and the missing-
    aware prompts of Lee et al. 2023, at the fusion's door.
    """

    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        lacks = ~present(tokens)[:, None]
        init = nn.initializers.normal(0.02)
        token, pooled = (
            parameter(
                self,
                name,
                old.shape[-1:],
                ("embed",),
                init=init,
                dtype=old.dtype,
                param_dtype=self.param_dtype,
            )
            for name, old in (("token", tokens.values), ("pooled", tokens.pooled))
        )
        first = lacks & (jnp.arange(tokens.mask.shape[1]) == 0)
        return dataclasses.replace(
            tokens,
            values=jnp.where(first[..., None], token, tokens.values),
            mask=tokens.mask | first,
            pooled=jnp.where(lacks, pooled, tokens.pooled),
        )
