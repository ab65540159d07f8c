"""Convolutions in forms whose backward pass is fast on every backend."""

from __future__ import annotations

from collections.abc import Sequence

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Dtype, Float
from mmjax.nn.dense import Initializer
from mmjax.nn.pooling import max_over

he_normal: Initializer = nn.initializers.he_normal()


def conv(
    channels: int,
    *,
    name: str,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    use_bias: bool = True,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> nn.Conv:
    """A convolution of `b h w c` that by default keeps the size (He et al. 2015 initialisation)."""
    axes = ("spatial", "spatial", "channels_in", "channels_out")
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=padding,
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(he_normal, axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("channels_out",)),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )


def conv1d(
    channels: int,
    *,
    name: str,
    kernel: int,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
    use_bias: bool = True,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> nn.Conv:
    """A convolution of `b t c` along t, with `padding` zeros on both sides, or before and after."""
    before, after = (padding, padding) if isinstance(padding, int) else padding
    axes = ("spatial", "channels_in", "channels_out")
    return nn.Conv(
        channels,
        (kernel,),
        strides=(stride,),
        padding=((before, after),),
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(he_normal, axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("channels_out",)),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )


def space_to_depth(pixels: Float[Array, "b h w c"], block: int) -> Float[Array, "b y x d"]:
    """Moves each `block` x `block` square into channels; a border that does not fill one is cut."""
    rows, columns = pixels.shape[1] // block, pixels.shape[2] // block
    pixels = pixels[:, : rows * block, : columns * block]
    return einops.rearrange(pixels, "b (y p) (x q) c -> b y x (p q c)", p=block, q=block)


def max_pool(values: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
    """The maximum of each 2 x 2 square; an odd border row or column is cut."""
    rows, columns = values.shape[1] // 2 * 2, values.shape[2] // 2 * 2
    squares = einops.rearrange(
        values[:, :rows, :columns], "b (y p) (x q) c -> b y x (p q) c", p=2, q=2
    )
    return max_over(squares, axis=-2)


def grid_mean(values: Float[Array, "b h w c"], cells: int) -> Float[Array, "b d"]:
    """The mean of each cell of a `cells` x `cells` grid, flattened: 1 is global pooling.

    The size must be a multiple of `cells`; a border beyond that is cut.
    """
    rows, columns = values.shape[1] // cells, values.shape[2] // cells
    values = values[:, : rows * cells, : columns * cells]
    return einops.reduce(values, "b (y p) (x q) c -> b (y x c)", "mean", y=cells, x=cells)
