"""Streams over time and their padding."""

from __future__ import annotations

import einops
import jax
import jax.numpy as jnp

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, ArrayLike, Bool, Float


def stream_of(
    input_features: ArrayLike | None, input_values: ArrayLike | None, where: str
) -> Float[Array, "b t c"]:
    """The one of the two that is given; a waveform `b s` has one channel.

    Raises ConfigError unless exactly one is given.
    """
    if (input_features is None) == (input_values is None):
        given = "neither" if input_features is None else "both"
        raise ConfigError(
            109,
            f"{where} was given {given} of input_features and input_values",
            fix="give features over time as input_features, or a waveform as input_values",
        )
    if input_features is not None:
        return jnp.asarray(input_features)
    return jnp.asarray(input_values)[..., None]


def whole_mask(mask: ArrayLike | None, values: Float[Array, "b t *c"]) -> Bool[Array, "b t"]:
    """The mask as booleans; without one everything is valid."""
    if mask is not None:
        return jnp.asarray(mask, bool)
    # Behind a barrier: XLA takes seconds to fold what is computed from a constant mask.
    return jax.lax.optimization_barrier(jnp.ones(values.shape[:2], bool))


def without_padding(
    values: Float[Array, "b t *c"], mask: Bool[Array, "b t"]
) -> Float[Array, "b t *c"]:
    """Zeros where the mask is False, whatever stands there: NaN and infinity too."""
    return jnp.where(mask.reshape(*mask.shape, *[1] * (values.ndim - 2)), values, 0)


def counted(mask: Bool[Array, "b t"], values: Float[Array, "b t *c"]) -> Bool[Array, "b t *c"]:
    """What `nn.GroupNorm` takes as `mask=`, so that padding over time counts in no statistic.

    A row that is all padding is counted whole: statistics of nothing would be NaN.
    """
    mask = mask | ~mask.any(axis=1, keepdims=True)
    return jnp.broadcast_to(mask.reshape(*mask.shape, *[1] * (values.ndim - 2)), values.shape)


def shorter_mask(mask: Bool[Array, "b t"], factor: int) -> Bool[Array, "b n"]:
    """One a run of `factor` positions: valid where any of them is. A last short run counts."""
    return _padded(mask, factor).reshape(mask.shape[0], -1, factor).any(axis=-1)


def fold_time(values: Float[Array, "b t c"], factor: int) -> Float[Array, "b n d"]:
    """Each run of `factor` positions as channels (position, channel), the last filled with 0."""
    return einops.rearrange(_padded(values, factor), "b (n p) c -> b n (p c)", p=factor)


def mean_over_time(
    values: Float[Array, "b t *c"], mask: Bool[Array, "b t"], factor: int
) -> Float[Array, "b n *c"]:
    """The mean of the valid positions of each run of `factor`; 0 for a run that has none."""
    runs = einops.rearrange(
        _padded(without_padding(values, mask), factor), "b (n p) ... -> b n p ...", p=factor
    )
    counts = _padded(mask, factor).reshape(mask.shape[0], -1, factor).sum(axis=-1)
    counts = jnp.maximum(counts, 1).reshape(*counts.shape, *[1] * (values.ndim - 2))
    return (runs.astype(jnp.float32).sum(axis=2) / counts).astype(values.dtype)


def _padded(values: Array, factor: int) -> Array:
    rest = -values.shape[1] % factor
    return jnp.pad(values, [(0, 0), (0, rest), *[(0, 0)] * (values.ndim - 2)])
