"""Classes and labels: the log-odds of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen, named, of_one, taken

_LEAST = 1e-30


class _OneOf(Score):
    """Numbers `[b v]` of alternatives, of which one is explained."""

    has_probability: ClassVar[bool] = True
    noun: ClassVar[str] = "class"

    def names(self, task: Any) -> tuple[str, ...]:
        return tuple(getattr(task, "label_names", ()) or getattr(task, "answer_names", ()))

    def logits(self, seen: Seen) -> Float[Array, "b v"]:
        return jnp.asarray(seen.outputs, jnp.float32)

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        logits = self.logits(seen)
        if of is not None:
            return jnp.full(logits.shape[:1], self.place(seen.task, of), jnp.int32)
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        return [f"log-odds of {self.says(task, one)}" for one in np.asarray(choice)]

    def says(self, task: Any, choice: Choice) -> str | None:
        return named(self.names(task), int(choice), self.noun)


class Classes(_OneOf):
    """The log-odds of a class against all others; its softmax as a probability."""

    about = "the log-odds of the likeliest class against all others"

    def fits(self, task: Any) -> bool:
        return getattr(task, "outputs_are", None) == "classes"

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        return of_one(self.logits(seen), choice, scale)


class Labels(_OneOf):
    """The log-odds of a label, which are its logit; its sigmoid as a probability."""

    about = "the log-odds of the likeliest label"
    noun = "label"

    def fits(self, task: Any) -> bool:
        return getattr(task, "outputs_are", None) == "labels"

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        return of_one(self.logits(seen), choice, scale, independent=True)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        if not self.names(task):
            return ["log-odds of a right answer"] * len(choice)
        return super().told(task, choice, answers)


class Shares(_OneOf):
    """Of a task that gives `probabilities` `[b v]` alone: the log-odds of one."""

    about = "the log-odds of what is likeliest"

    def fits(self, task: Any) -> bool:
        return bool(self.names(task)) and getattr(task, "outputs_are", None) is None

    def logits(self, seen: Seen) -> Float[Array, "b v"]:
        found = jnp.maximum(jnp.asarray(seen.predictions["probabilities"], jnp.float32), _LEAST)
        if getattr(seen.task, "multi_label", False):
            return jnp.log(found) - jnp.log(jnp.maximum(1 - found, _LEAST))
        return jnp.log(found)

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        if scale == "probability":
            return taken(seen.predictions["probabilities"], choice)
        alone = getattr(seen.task, "multi_label", False)
        return of_one(self.logits(seen), choice, scale, independent=alone)
