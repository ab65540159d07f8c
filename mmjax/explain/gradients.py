"""The gradient of the score times the input."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mmjax.core.types import Batch
from mmjax.core.typing import Array
from mmjax.explain.base import PartMethod
from mmjax.explain.features import Features, Parts
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


@dataclasses.dataclass(frozen=True)
class Gradients(PartMethod):
    """Gradient times (input minus nothing), the first-order guess of what the input adds
    (Shrikumar et al. 2016).
    """

    about: ClassVar[str] = "the gradient of the score at the input, times the input"

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        own, nothing = subject.features(variables, batch, choice)

        def function(given: Features) -> Array:
            return subject.scores(variables, batch, choice, given).sum()

        grads = jax.grad(function)(own)
        return subject.places(
            batch, jax.tree.map(lambda g, x, zero: g * (x - zero), grads, own, nothing)
        )


def sizes(found: Features) -> Features:
    """The sizes of numbers, in float32."""
    return jax.tree.map(lambda one: jnp.abs(one.astype(jnp.float32)), found)
