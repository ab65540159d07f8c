"""Pooling of the modalities by their agreement in direction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Float
from mmjax.fusion.joint_projection import JointProjection
from mmjax.kernels.joint_embedding import Backend, joint_embedding


class CosinePool(JointProjection, kw_only=True):
    """sum_m w_m v_m, with w = softmax(cos(v_m, c) / temperature).

    The v_m are the projected summaries of the modalities that a row has, and c is the mean of their
    unit vectors: a modality counts the more, the more the others agree with it
    (`mmjax.kernels.cosine_pooling` has the exact formulas). `modality_weights` are w. With
    `learn_temperature`, its logarithm is trained, from `temperature`. `backend` is one of
    `mmjax.kernels.joint_embedding`, chosen by platform and shape if None.

    Raises ConfigError if `temperature` is not positive.
    """

    temperature: float = 1.0
    learn_temperature: bool = False
    backend: Backend | None = None

    def embed(
        self, inputs: Sequence[Array], kernels: Sequence[Array], **given: Any
    ) -> tuple[Float[Array, "b d"], Float[Array, "b modality"] | None]:
        if not 0.0 < self.temperature < math.inf:
            raise ConfigError(
                109,
                f"cosine_pool cannot have a temperature of {self.temperature}",
                where="model.fusion.temperature",
                fix="a number above 0",
            )
        temperature: Any = self.temperature
        if self.learn_temperature:
            start = jnp.asarray(math.log(self.temperature), self.param_dtype)
            logarithm = self.param("log_temperature", lambda key: start)
            temperature = jnp.exp(logarithm.astype(jnp.float32))
        return joint_embedding(
            inputs,
            kernels,
            pool="cosine",
            temperature=temperature,
            backend=self.backend,
            **given,
        )
