"""Where a convolutional encoder sees what it says, place by place."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from mmjax.core.typing import Array, Float
from mmjax.explain.grad_cam import GradCam


@dataclasses.dataclass(frozen=True)
class HiResCam(GradCam):
    """HiResCAM (Draelos and Carin 2020): each place of the map times its own gradient.

    Grad-CAM takes a channel's mean gradient for all places, which is what the model did only where
    it pools by the mean. Where it pools by quadrants or by the largest, or reads the tokens of the
    map, the gradient differs from place to place, and this is what the score owes each.
    """

    about: ClassVar[str] = (
        "the last maps of a convolutional encoder, each place times its own gradient: where it "
        "sees what speaks for the score"
    )

    def weighed(
        self, maps: Float[Array, "b ... c"], slopes: Float[Array, "b ... c"]
    ) -> Float[Array, "b ..."]:
        return jnp.maximum((maps * slopes).sum(axis=-1), 0)
