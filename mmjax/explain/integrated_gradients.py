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
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


def integrated_gradients(
    function: Callable[[Any], Float[Array, "b"]],
    inputs: Any,
    baseline: Any,
    *,
    steps: int = 50,
    part: tuple[Array | float, Array | float] = (0.0, 1.0),
) -> Any:
    """(x - x') times the mean gradient on the way from x' to x (Sundararajan et al. 2017, eq. 1).

    `function` gives a number a row of a tree of arrays `b ...`; the result is such a tree. The
    integral is by Gauss and Legendre, as captum's is by default. For exact integrals the values of
    a row add up to f(x) - f(x'). Of a `part` of the way, from a share of it to another, it is what
    that part adds.
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    start, stop = part
    way = (
        start + (stop - start) * jnp.asarray((points + 1) / 2, jnp.float32),
        (stop - start) * jnp.asarray(weights / 2, jnp.float32),
    )
    slope = jax.grad(lambda one: function(one).sum())

    def add(summed: Any, at: tuple[Array, Array]) -> tuple[Any, None]:
        place, weight = at
        grads = slope(between(inputs, baseline, place))
        return jax.tree.map(lambda s, g: s + weight * g, summed, grads), None

    summed, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, inputs), way)
    return jax.tree.map(lambda s, x, zero: s * (x - zero), summed, inputs, baseline)


def between(inputs: Any, baseline: Any, share: Array | float) -> Any:
    """What is a share of the way from the baseline to the inputs."""
    return jax.tree.map(lambda x, zero: zero + share * (x - zero), inputs, baseline)


@dataclasses.dataclass(frozen=True)
class IntegratedGradients(PartMethod):
    """Integrated gradients of every modality at once (Sundararajan et al. 2017), by `steps` points.

    From features of zeros, special tokens as they are. The values of all places of a row add up to
    its score minus that of nothing. Where they miss it by more than `tolerance` of it, the way is
    halved, and of the halves again what misses its own share, into `most_parts` in all; `left_over`
    is what they miss then.
    """

    steps: int = 50
    tolerance: float = 1e-3
    most_parts: int = 64

    about: ClassVar[str] = (
        "the gradient of the score times the input, averaged on the way from an input of nothing; "
        "the values of all places add up to the score minus that of nothing"
    )

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        return self._on_part(subject, variables, batch, choice, 0.0, 1.0)[0]

    def _on_part(
        self,
        subject: Subject,
        variables: Any,
        batch: Batch,
        choice: Choice,
        start: Array | float,
        stop: Array | float,
    ) -> tuple[Parts, Float[Array, "b"]]:
        """What a part of the way adds at each place, and to the score."""
        own, nothing = subject.features(variables, batch, choice)

        def function(given: Features) -> Array:
            return subject.scores(variables, batch, choice, given)

        found = integrated_gradients(function, own, nothing, steps=self.steps, part=(start, stop))
        ends = [function(between(own, nothing, share)) for share in (start, stop)]
        return subject.places(batch, found), ends[1] - ends[0]

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        def traced(variables: Any, batch: Batch, choice: Choice, start: Any, stop: Any) -> Any:
            return self._on_part(subject, variables, batch, choice, start, stop)

        def on(start: float, stop: float) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
            ends = np.float32(start), np.float32(stop)
            parts, gap = subject.call(("part", self), traced, batch, choice, *ends)
            missed = gap - sum((total(one) for one in parts.values()), np.zeros(len(gap)))
            return parts, gap, missed

        parts, gap, missed = on(0.0, 1.0)
        # A row that gains next to nothing may miss a share of what rows gain.
        allowed = self.tolerance * np.maximum(np.abs(gap), np.abs(gap).mean() / 10)
        pieces = {(0.0, 1.0): (parts, missed)}
        while len(pieces) < self.most_parts:
            left = sum((one for _, one in pieces.values()), np.zeros(len(gap)))
            if not (np.abs(left) > allowed).any():
                break
            worst = max(pieces, key=lambda one: float((np.abs(pieces[one][1]) / allowed).max()))
            middle = (worst[0] + worst[1]) / 2
            del pieces[worst]
            for half in ((worst[0], middle), (middle, worst[1])):
                found, _, lost = on(*half)
                pieces[half] = found, lost
        whole = {
            name: np.sum([found[name] for found, _ in pieces.values()], axis=0) for name in parts
        }
        sums = {name: total(values) for name, values in whole.items()}
        left = gap - sum(sums.values(), np.zeros(len(gap)))
        facts = [
            {"gained": float(a), "left_over": float(b)} for a, b in zip(gap, left, strict=True)
        ]
        return Found(sums, whole, facts=facts)
