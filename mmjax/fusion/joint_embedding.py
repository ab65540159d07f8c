"""Joint embedding of the modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Float
from mmjax.fusion.joint_projection import JointProjection
from mmjax.nn.dense import ACTIVATIONS, Activation

_EPS = 1e-12


class JointEmbedding(JointProjection, kw_only=True):
    """Z = W_x X + W_i I + W_a A over the modalities that a row has, without biases.

    `activation` is applied to Z; `normalize` then scales each row to length 1, as spaces that are
    searched by cosine want it.
    """

    activation: Activation = "linear"
    normalize: bool = False

    use_bias = False

    def embed(
        self, inputs: Sequence[Array], kernels: Sequence[Array], **given: Any
    ) -> tuple[Float[Array, "b d"], None]:
        pooled, _ = super().embed(inputs, kernels, **given)
        pooled = ACTIVATIONS[self.activation](pooled)
        if self.normalize:
            wide = pooled.astype(jnp.float32)
            squared = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
            pooled = (wide * jax.lax.rsqrt(squared + _EPS)).astype(pooled.dtype)
        return pooled, None
