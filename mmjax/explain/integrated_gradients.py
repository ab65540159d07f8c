"""Gradients along the way from nothing to the input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain.base import Found, PartMethod, total
from mmjax.explain.features import Features, Parts
from mmjax.explain.score import Choice
from mmjax.explain.subject import Subject


def integrated_gradients(
    function: Callable[[Any], Float[Array, "b"]], inputs: Any, baseline: Any, *, steps: int = 50
) -> Any:
    """(x - x') times the mean gradient on the way from x' to x (Sundararajan et al. 2017, eq. 1).

    `function` gives a number a row of a tree of arrays `b ...`; the result is such a tree. The
    integral is by Gauss and Legendre, as captum's is by default. For exact integrals the values of
    a row add up to f(x) - f(x').
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    way = jnp.asarray((points + 1) / 2, jnp.float32), jnp.asarray(weights / 2, jnp.float32)
    slope = jax.grad(lambda one: function(one).sum())

    def add(summed: Any, at: tuple[Array, Array]) -> tuple[Any, None]:
        place, weight = at
        between = jax.tree.map(lambda x, zero: zero + place * (x - zero), inputs, baseline)
        grads = slope(between)
        return jax.tree.map(lambda s, g: s + weight * g, summed, grads), None

    summed, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, inputs), way)
    return jax.tree.map(lambda s, x, zero: s * (x - zero), summed, inputs, baseline)


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(PartMethod):
    """Integrated gradients of every modality at once (Sundararajan et al. 2017), in `steps`.

    From features of zeros, special tokens as they are. The values of all places of a row add up to
    its score minus that of nothing; `left_over` is what they miss of it.
    """

    steps: int = 50

    about: ClassVar[str] = (
        "the gradient of the score times the input, averaged on the way from an input of nothing; "
        "the values of all places add up to the score minus that of nothing"
    )

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        return self._with_ends(subject, variables, batch, choice)[0]

    def _with_ends(
        self, subject: Subject, variables: Any, batch: Batch, choice: Choice
    ) -> tuple[Parts, Array]:
        own, nothing = subject.features(variables, batch, choice)

        def function(given: Features) -> Array:
            return subject.scores(variables, batch, choice, given)

        found = integrated_gradients(function, own, nothing, steps=self.steps)
        return subject.places(batch, found), function(own) - function(nothing)

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        def traced(variables: Any, batch: Batch, choice: Choice) -> Any:
            return self._with_ends(subject, variables, batch, choice)

        parts, gap = subject.call(("ends", self), traced, batch, choice)
        sums = {name: total(values) for name, values in parts.items()}
        missed = gap - sum(sums.values(), np.zeros(len(gap)))
        facts = [
            {"gained": float(a), "left_over": float(b)} for a, b in zip(gap, missed, strict=True)
        ]
        return Found(sums, parts, facts=facts)
