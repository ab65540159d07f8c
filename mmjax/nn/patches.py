"""Patch embedding as one matrix product, which trains several times faster than a convolution."""

from __future__ import annotations

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Dtype, Float
from mmjax.nn.dense import dense


class PatchEmbed(nn.Module, kw_only=True):
    """Non-overlapping patches, flattened as (row, column, channel) and projected to `width`.

    Equal to a convolution with kernel and stride `patch`; a border that does not fill a patch is
    cut off, as that convolution does.
    """

    patch: int
    width: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, pixels: Float[Array, "b h w c"]) -> Float[Array, "b n d"]:
        rows, columns = pixels.shape[1] // self.patch, pixels.shape[2] // self.patch
        pixels = pixels[:, : rows * self.patch, : columns * self.patch]
        patches = einops.rearrange(
            pixels, "b (h p) (w q) c -> b (h w) (p q c)", p=self.patch, q=self.patch
        )
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        return dense(self.width, ("patch", "embed"), name="projection", **types)(patches)
