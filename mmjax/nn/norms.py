"""Normalisations, in float32, each with an eps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Dtype, Float


def layer_norm(
    *,
    name: str,
    eps: float = 1e-6,
    use_bias: bool = True,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> nn.LayerNorm:
    """Layer normalisation (Ba et al. 2016) over the last axis; statistics in float32."""
    return nn.LayerNorm(
        epsilon=eps,
        use_bias=use_bias,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )


def rms_norm(
    *, name: str, eps: float = 1e-6, dtype: Dtype = jnp.float32, param_dtype: Dtype = jnp.float32
) -> nn.RMSNorm:
    """Root-mean-square normalisation (Zhang and Sennrich 2019) over the last axis, in float32."""
    return nn.RMSNorm(
        epsilon=eps,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("norm",)),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )


class UnitOffsetRMSNorm(nn.Module, kw_only=True):
    """RMS normalisation times `1 + scale`, which starts at 0 (Gemma); in float32."""

    eps: float = 1e-6
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
        scale: Any = self.param("scale", init, (values.shape[-1],), self.param_dtype)
        wide = values.astype(jnp.float32)
        mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(mean + self.eps) * (1.0 + scale.astype(jnp.float32))
        return wide.astype(self.dtype)


def batch_norm(
    *,
    name: str,
    eps: float = 1e-5,
    momentum: float = 0.9,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> nn.BatchNorm:
    """Batch normalisation (Ioffe and Szegedy 2015) over all axes but the last.

    Called with `use_running_average=not train`; its averages are the collection `batch_stats`.
    `momentum` is the share of the old average that stays (PyTorch's is the share of the new).
    """
    return nn.BatchNorm(
        epsilon=eps,
        momentum=momentum,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )


def group_norm(
    *,
    name: str,
    groups: int,
    eps: float = 1e-6,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> nn.GroupNorm:
    """Group normalisation (Wu and He 2018) of `b h w c`; no statistics to keep.

    The variance is that of differences from the mean. Flax's default, the mean of squares less the
    square of the mean, is lost in float32 where an input hardly varies, as of silence and of blank
    pictures; it takes no less time.
    """
    return nn.GroupNorm(
        num_groups=groups,
        use_fast_variance=False,
        epsilon=eps,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones, ("norm",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )
