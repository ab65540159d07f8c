"""Which word goes with which part of a picture: optimal transport between their tokens."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mmjax.core.types import Batch, Tokens
from mmjax.core.typing import Array
from mmjax.explain import maps as maps_lib
from mmjax.explain import probes
from mmjax.explain.base import Found, Method
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject
from mmjax.fusion.alignment.sinkhorn import align_tokens


@dataclasses.dataclass(frozen=True)
class Alignment(Method):
    """The transport between the fused tokens of each two modalities (`fusion.alignment`).

    A pair's plan says how much of each token goes to which; a place's number is the mean cosine
    with what it goes to, less the mean of all places. It is of the tokens as the fusion gives them,
    whatever is explained.
    """

    epsilon: float = 0.1
    iterations: int = 50

    about: ClassVar[str] = (
        "optimal transport between the tokens of two modalities: what goes with what, and which "
        "places are more alike to what they go to than the rest"
    )

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        found = jax.eval_shape(
            lambda v: probes.run(subject, v, batch, lambda module: None).fused, subject.ready
        )
        if found is None or len(found.spans) < 2:
            return "no tokens of two modalities in one space"
        return None

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        def traced(variables: Any, batch: Batch) -> Any:
            return self._plans(subject, variables, batch)

        pairs, parts = subject.call(("plans", self), traced, batch)
        return Found({}, parts, pairs)

    def _plans(self, subject: Subject, variables: Any, batch: Batch) -> Any:
        fused = probes.run(subject, variables, batch, lambda module: None).fused
        assert fused is not None
        tokens = {
            name: Tokens(fused.values[:, a:b], fused.mask[:, a:b], fused.pooled)
            for name, (a, b) in fused.spans.items()
        }
        pairs: dict[str, Array] = {}
        alike: dict[str, list[Array]] = {}
        for one, other in itertools.combinations(tokens, 2):
            found = align_tokens(
                tokens[one], tokens[other], epsilon=self.epsilon, iterations=self.iterations
            )
            pairs[f"{one}<-{other}"] = found.plan
            cosines = _cosines(tokens[one].values, tokens[other].values)
            for name, axis in ((one, 2), (other, 1)):
                moved = jnp.maximum(found.plan.sum(axis=axis), 1e-9)
                alike.setdefault(name, []).append((found.plan * cosines).sum(axis=axis) / moved)
        means = {name: sum(found[1:], found[0]) / len(found) for name, found in alike.items()}
        apart = {}
        for name, values in means.items():
            mask = tokens[name].mask.astype(values.dtype)
            mean = (values * mask).sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)
            apart[name] = values - mean[:, None]
        return pairs, maps_lib.placed(subject, batch, apart)


def _cosines(a: Array, b: Array) -> Array:
    def unit(values: Array) -> Array:
        return values / jnp.maximum(jnp.linalg.norm(values, axis=-1, keepdims=True), 1e-9)

    return jnp.einsum("bnd,bmd->bnm", unit(a), unit(b))
