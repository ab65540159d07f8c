"""Rotary position embeddings: pairs of channels turned by an angle that grows with the position."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, ArrayLike, Float, Int

_LLAMA3 = ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def rotary_frequencies(
    dim: int, base: float = 10000.0, scaling: Mapping[str, float] | None = None
) -> np.ndarray:
    """Radians a position of each pair of `dim` channels: `base ** (-2 i / dim)`, float32.

    `scaling` stretches positions by its `factor`; with `low_freq_factor`, `high_freq_factor` and
    `original_max_position_embeddings`, long wavelengths alone and those between in part (Llama 3.1,
    transformers' `_compute_llama3_parameters`). Raises ConfigError for an odd `dim`.
    """
    if dim % 2:
        raise ConfigError(109, f"rotary_dim={dim} is odd", fix=f"rotary_dim={dim + 1}")
    frequencies = base ** (-np.arange(0, dim, 2) / dim)
    if scaling is None:
        return frequencies.astype(np.float32)
    slow = frequencies / scaling["factor"]
    if _LLAMA3[0] not in scaling:
        return slow.astype(np.float32)
    low, high, length = (scaling[name] for name in _LLAMA3)
    turns = length * frequencies / (2 * math.pi)
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return ((1 - share) * slow + share * frequencies).astype(np.float32)


def rotary_angles(
    positions: Int[ArrayLike, "b n"], frequencies: Float[ArrayLike, "f"]
) -> Float[Array, "b n f"]:
    """The angle of each pair of channels, float32."""
    return jnp.asarray(positions, jnp.float32)[..., None] * jnp.asarray(frequencies)


def rotate(
    values: Float[Array, "b n k h"], angles: Float[Array, "#b n f"], *, interleaved: bool = False
) -> Float[Array, "b n k h"]:
    """The first `2 f` channels turned (Su et al. 2021, equation 34); the others as they are.

    A pair are channels i and `i + f` (GPT-NeoX, Llama), or `2 i` and `2 i + 1` where `interleaved`
    (RoFormer, GPT-J).
    """
    half = angles.shape[-1]
    cos, sin = (turn(angles)[:, :, None, :] for turn in (jnp.cos, jnp.sin))
    part = values[..., : 2 * half].astype(jnp.float32)
    if interleaved:
        first, second = part[..., ::2], part[..., 1::2]
    else:
        first, second = part[..., :half], part[..., half:]
    turned = [first * cos - second * sin, second * cos + first * sin]
    if interleaved:
        whole = jnp.stack(turned, axis=-1).reshape(part.shape)
    else:
        whole = jnp.concatenate(turned, axis=-1)
    return jnp.concatenate([whole.astype(values.dtype), values[..., 2 * half :]], axis=-1)
