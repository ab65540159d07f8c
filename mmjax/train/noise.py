"""Gaussian noise on the gradients of encoders."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mmjax.core import rng
from mmjax.core.typing import Array
from mmjax.train.optim import path_of

_ENCODER = "/encoders_"


@struct.dataclass
class Noise:
    """The updates so far, of which each has its own noise."""

    count: Array


def gradient_noise(scale: float, seed: int) -> optax.GradientTransformation:
    """Adds noise of `scale` times each array's own standard deviation, to those of encoders.

    The generalisation enhancement of OGM-GE (Peng et al. 2022), whose covariance its reference code
    takes as that of the numbers of each array.
    """

    def update(updates: Any, state: Noise, params: Any = None) -> tuple[Any, Noise]:
        key = jax.random.fold_in(jax.random.key(seed, impl=rng.IMPLEMENTATION), state.count)
        leaves = jax.tree_util.tree_leaves_with_path(updates)
        number = {path_of(path): index for index, (path, _) in enumerate(leaves)}

        def noisy(path: tuple, one: Array) -> Array:
            name = path_of(path)
            if not name.startswith(_ENCODER):
                return one
            values = one.astype(jnp.float32)
            drawn = jax.random.normal(jax.random.fold_in(key, number[name]), one.shape)
            return (values + scale * values.std() * drawn).astype(one.dtype)

        return jax.tree_util.tree_map_with_path(noisy, updates), Noise(state.count + 1)

    return optax.GradientTransformation(lambda params: Noise(jnp.zeros((), jnp.int32)), update)
