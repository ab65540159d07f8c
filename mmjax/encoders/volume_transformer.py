"""A transformer over the patches of a volume."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Float
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import parameter
from mmjax.nn.patches import PatchEmbed, patch_grid
from mmjax.nn.pooling import masked_mean
from mmjax.nn.positions import resize_positions


class VolumeTransformer(TransformerEncoder, kw_only=True):
    """ViT over 3-D patches, the encoder of UNETR (Hatamizadeh et al. 2022), with a class token.

    `patch` is in voxels (depth, height, width), or one size for all. Positions are learned for
    volumes of `volume_size` and interpolated linearly for others; a border that does not fill a
    patch is cut. `pooled` is the mean of the patches, or the class token.
    """

    volume_size: tuple[int, int, int] = fact()
    patch: int | tuple[int, ...] = 8
    depth: int = 4
    dropout: float = 0.0
    attention_dropout: float = 0.0
    pooling: Literal["mean", "cls"] = "mean"

    @nn.compact
    def __call__(self, voxel_values: Float[ArrayLike, "b d h w c"], *, train: bool) -> Tokens:
        types = self.types()
        values = PatchEmbed(patch=self.patch, width=self.width, name="patches", **types)(
            jnp.asarray(voxel_values, self.dtype)
        )
        grid = patch_grid(tuple(self.volume_size), self.patch)

        def learned(name: str, count: int) -> Array:
            shape, axes = (1, count, self.width), (None, "tokens", "embed")
            init = nn.initializers.normal(0.02)
            return parameter(self, name, shape, axes, init=init, **types)

        positions = resize_positions(
            learned("positions", grid[0] * grid[1] * grid[2] + 1),
            grid,
            patch_grid(voxel_values.shape[1:4], self.patch),
            method="linear",
            extra_tokens=1,
        )
        first = jnp.broadcast_to(learned("class_token", 1), (values.shape[0], 1, self.width))
        values = jnp.concatenate([first, values], axis=1) + positions
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        mask = jnp.ones(values.shape[:2], bool)
        values = self.transformer()(values, mask, train=train)
        if self.pooling == "mean":
            return Tokens(values, mask, masked_mean(values[:, 1:], mask[:, 1:]))
        return Tokens(values, mask, values[:, 0])
