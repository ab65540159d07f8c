"""Gradients of noisy copies of the input, averaged."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain.base import PartMethod
from mmjax.explain.features import Features, Parts
from mmjax.explain.gradients import sizes
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


def smooth_gradients(
    function: Callable[[Any], Float[Array, "b"]],
    inputs: Any,
    key: Array,
    *,
    noise: float = 0.15,
    samples: int = 25,
    squared: bool = False,
) -> Any:
    """The mean gradient over `samples` noisy inputs (Smilkov et al. 2017, section 3).

    Noise is normal, its deviation `noise` times the range of a row's values in each array. With
    `squared` the mean of squares, as in their later code (SmoothGrad-Squared).
    """
    slope = jax.grad(lambda one: function(one).sum())

    def range_of(values: Array) -> Array:
        axes = tuple(range(1, values.ndim))
        return values.max(axis=axes, keepdims=True) - values.min(axis=axes, keepdims=True)

    def noisy(key: Array) -> Any:
        leaves, tree = jax.tree.flatten(inputs)
        keys = jax.random.split(key, len(leaves))
        moved = [
            leaf + noise * range_of(leaf) * jax.random.normal(one, leaf.shape, leaf.dtype)
            for leaf, one in zip(leaves, keys, strict=True)
        ]
        return jax.tree.unflatten(tree, moved)

    def add(summed: Any, key: Array) -> tuple[Any, None]:
        grads = slope(noisy(key))
        return jax.tree.map(lambda s, g: s + (g**2 if squared else g), summed, grads), None

    start = jax.tree.map(jnp.zeros_like, inputs)
    summed, _ = jax.lax.scan(add, start, jax.random.split(key, samples))
    return jax.tree.map(lambda s: s / samples, summed)


@dataclasses.dataclass(frozen=True)
class SmoothGrad(PartMethod):
    """SmoothGrad of every modality at once (Smilkov et al. 2017): sizes of averaged gradients.

    `times_input` multiplies by the input minus nothing, which gives it signs.
    """

    samples: int = 25
    noise: float = 0.15
    times_input: bool = False
    seed: int = 0

    about: ClassVar[str] = (
        "the size of the score's gradient, averaged over copies of the input with noise: where a "
        "small change would change the score"
    )

    add_up: ClassVar[bool] = False

    @property
    def signed(self) -> bool:  # type: ignore[override]
        return self.times_input

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        own, nothing = subject.features(variables, batch, choice)

        def function(given: Features) -> Array:
            return subject.scores(variables, batch, choice, given)

        key = jax.random.key(zlib.crc32(f"smooth_grad/{self.seed}".encode()))
        grads = smooth_gradients(function, own, key, noise=self.noise, samples=self.samples)
        if self.times_input:
            found = jax.tree.map(lambda g, x, zero: g * (x - zero), grads, own, nothing)
            return subject.places(batch, found)
        return subject.places(batch, sizes(grads))
