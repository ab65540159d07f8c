"""A block that begins as the identity."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array
from mmjax.nn.dense import parameter
from mmjax.nn.transformer import Block


class TanhGatedBlock(Block, kw_only=True):
    """A block that begins as the identity: tanh(gate), from 0, multiplies each branch.

    The gated cross-attention of Flamingo (Alayrac et al. 2022, section 2.2), one gate a branch.
    """

    def _branch(
        self, output: Array, name: str, train: bool, drop_share: Array | None = None
    ) -> Array:
        zeros = nn.initializers.zeros
        gate = parameter(self, f"{name}_gate", (), (), init=zeros, **self.types())
        return jnp.tanh(gate) * super()._branch(output, name, train, drop_share)
