"""A small convolutional network for pictures, trained from scratch."""

from __future__ import annotations

from typing import Literal

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Dtype, Float
from mmjax.nn.convolution import check_groups, conv, grid_mean, max_pool, space_to_depth
from mmjax.nn.dense import dense, parameter
from mmjax.nn.norms import group_norm, layer_norm
from mmjax.nn.pooling import max_over

Pool = Literal["mean", "max", "quadrants", "early_mean"]


class ImageCNN(nn.Module, kw_only=True):
    """Space-to-depth, then stages of 3 x 3 convolutions with max-pooling in between.

    A stage is a convolution, group norm and GELU, then `blocks` residual convolutions whose
    branches start at half weight (as in LayerScale, Touvron et al. 2021). Tokens are the positions
    of the last stage, row by row. `pooled` projects the concatenated `pools`: the mean, the maximum
    and the quadrants' means of the last stage, and the mean of the second. Raises ConfigError for
    pictures that are too small to be halved so often, and where the settings contradict each other.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (0, 1, 1)
    stem: int = 2
    width: int = 128
    groups: int = 8
    pools: tuple[Pool, ...] = ("mean", "max")
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, pixel_values: Float[ArrayLike, "b h w c"], *, train: bool) -> Tokens:
        self._check(pixel_values.shape[1], pixel_values.shape[2])
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def activated(values: Array, channels: int, name: str) -> Array:
            values = conv(channels, name=name, **types)(values)
            return nn.gelu(group_norm(name=f"{name}_norm", groups=self.groups, **types)(values))

        values = space_to_depth(jnp.asarray(pixel_values, self.dtype), self.stem)
        early = values
        for stage, (channels, blocks) in enumerate(zip(self.channels, self.blocks, strict=True)):
            if stage:
                values = max_pool(values)
            values = activated(values, channels, f"stage_{stage}")
            for index in range(blocks):
                name = f"stage_{stage}_block_{index}"
                half = nn.initializers.constant(0.5)
                gain = parameter(self, f"{name}_scale", (channels,), ("norm",), init=half, **types)
                values = values + gain * activated(values, channels, name)
            if stage == 1:
                early = values
        pooled = self._pool(values, early)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        pooled = dense(self.width, ("embed", "joined"), name="pooled", **types)(pooled)
        pooled = layer_norm(name="pooled_norm", **types)(pooled)
        tokens = einops.rearrange(values, "b h w c -> b (h w) c")
        tokens = dense(self.width, ("embed", "joined"), name="tokens", **types)(tokens)
        return Tokens(tokens, jnp.ones(tokens.shape[:2], bool), pooled)

    def _check(self, height: int, width: int) -> None:
        if len(self.blocks) != len(self.channels):
            raise ConfigError(
                109,
                f"image_cnn has {len(self.blocks)} blocks for {len(self.channels)} channels",
                fix="one number each a stage, such as channels=(32, 64) blocks=(0, 1)",
            )
        check_groups(self.channels, self.groups, "image_cnn")
        least = self.stem * 2 ** (len(self.channels) - 1) * (1 + ("quadrants" in self.pools))
        if min(height, width) < least:
            raise ConfigError(
                109,
                f"pictures of {height} x {width} are too small for the image_cnn",
                fix=f"at least {least} x {least}, fewer stages, a smaller stem or other pools",
            )

    def _pool(self, values: Array, early: Array) -> Array:
        found = {
            "mean": lambda: grid_mean(values, 1),
            "max": lambda: max_over(einops.rearrange(values, "b h w c -> b (h w) c"), axis=1),
            "quadrants": lambda: grid_mean(values, 2),
            "early_mean": lambda: grid_mean(early, 1),
        }
        return jnp.concatenate([found[pool]() for pool in self.pools], axis=-1)
