"""A residual network for volumes, such as CT and MR."""

from __future__ import annotations

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Dtype, Float
from mmjax.nn.convolution import Conv3D, check_groups
from mmjax.nn.dense import dense
from mmjax.nn.norms import group_norm
from mmjax.nn.patches import patch_shape
from mmjax.nn.pooling import max_over


class VolumeCNN(nn.Module, kw_only=True):
    """A 3-D ResNet (Hara et al. 2018) with group norm, stride-1 convolutions and pooling.

    Blocks of `stem` voxels (depth, height, width) become channels; then stages of residual blocks
    of two 3 x 3 x 3 convolutions, with a maximum over 2 x 2 x 2 in between. Tokens are the
    positions of the last stage; `pooled` projects their mean and maximum. A border that does not
    fill a block or a cube is cut. Raises ConfigError for volumes that are too small to be halved so
    often, and for groups that do not divide the channels.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1, 1, 1)
    stem: int | tuple[int, ...] = 2
    width: int = 128
    groups: int = 8
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, voxel_values: Float[ArrayLike, "b d h w c"], *, train: bool) -> Tokens:
        stem = patch_shape(self.stem, 3)
        self._check(voxel_values.shape[1:4], stem)
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = cubes(jnp.asarray(voxel_values, self.dtype), stem)
        values = einops.rearrange(values, "b d h w n c -> b d h w (n c)")
        for stage, (channels, blocks) in enumerate(zip(self.channels, self.blocks, strict=True)):
            if stage:
                values = max_over(cubes(values, (2, 2, 2)), axis=-2)
            for block in range(blocks):
                values = self._block(values, channels, f"stage_{stage}_block_{block}")
        tokens = einops.rearrange(values, "b d h w c -> b (d h w) c")
        pooled = jnp.concatenate([tokens.mean(axis=1), max_over(tokens, axis=1)], axis=-1)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        pooled = dense(self.width, ("embed", "joined"), name="pooled", **types)(pooled)
        tokens = dense(self.width, ("embed", "joined"), name="tokens", **types)(tokens)
        return Tokens(tokens, jnp.ones(tokens.shape[:2], bool), pooled)

    def _block(self, values: Array, channels: int, name: str) -> Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        branch = values
        for part in range(2):
            branch = Conv3D(channels=channels, name=f"{name}_conv_{part}", **types)(branch)
            branch = group_norm(name=f"{name}_norm_{part}", groups=self.groups, **types)(branch)
            branch = nn.relu(branch) if part == 0 else branch
        if values.shape[-1] != channels:
            values = dense(channels, ("channels_in", "channels_out"), name=f"{name}_skip", **types)(
                values
            )
        return nn.relu(values + branch)

    def _check(self, size: tuple[int, ...], stem: tuple[int, ...]) -> None:
        if len(self.blocks) != len(self.channels) or min(self.blocks) < 1:
            raise ConfigError(
                109,
                f"volume_cnn has blocks={self.blocks} for {len(self.channels)} channels",
                fix="one number each a stage, 1 or more, such as channels=(32, 64) blocks=(1, 2)",
            )
        check_groups(self.channels, self.groups, "volume_cnn")
        least = [part * 2 ** (len(self.channels) - 1) for part in stem]
        if any(have < need for have, need in zip(size, least, strict=True)):
            raise ConfigError(
                109,
                f"volumes of {' x '.join(map(str, size))} are too small for the volume_cnn",
                fix=f"at least {' x '.join(map(str, least))}, fewer stages or a smaller stem",
            )


def cubes(values: Float[Array, "b d h w c"], size: tuple[int, ...]) -> Float[Array, "b z y x n c"]:
    """The voxels `n` of each block of `size`; a border that does not fill one is cut."""
    z, y, x = (have // part for have, part in zip(values.shape[1:4], size, strict=True))
    values = values[:, : z * size[0], : y * size[1], : x * size[2]]
    return einops.rearrange(
        values,
        "b (z p) (y q) (x r) c -> b z y x (p q r) c",
        p=size[0],
        q=size[1],
        r=size[2],
    )
