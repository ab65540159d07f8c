"""Classes and labels: the logit of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen, centred, named, taken

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
        return [f"logit of {self.says(task, one)}" for one in np.asarray(choice)]

    def says(self, task: Any, choice: Choice) -> str | None:
        return named(self.names(task), int(choice), self.noun)


class Classes(_OneOf):
    """The logit of a class, less the mean of all; its softmax as a probability."""

    about = "the logit of the likeliest class, less the mean of all classes"

    def fits(self, task: Any) -> bool:
        return getattr(task, "outputs_are", None) == "classes"

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        logits = self.logits(seen)
        whole = jax.nn.softmax(logits) if scale == "probability" else centred(logits)
        return taken(whole, choice)


class Labels(_OneOf):
    """The logit of a label; its sigmoid as a probability."""

    about = "the logit of the likeliest label"
    noun = "label"

    def fits(self, task: Any) -> bool:
        return getattr(task, "outputs_are", None) == "labels"

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        logits = self.logits(seen)
        return taken(jax.nn.sigmoid(logits) if scale == "probability" else logits, choice)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        if not self.names(task):
            return ["logit of a right answer"] * len(choice)
        return super().told(task, choice, answers)


class Shares(_OneOf):
    """Of a task that gives `probabilities` `[b v]` alone: the logarithm of one, less the mean."""

    about = "the log-probability of what is likeliest, less the mean of all"

    def fits(self, task: Any) -> bool:
        return bool(self.names(task)) and getattr(task, "outputs_are", None) is None

    def logits(self, seen: Seen) -> Float[Array, "b v"]:
        found = jnp.maximum(jnp.asarray(seen.predictions["probabilities"], jnp.float32), _LEAST)
        if getattr(seen.task, "multi_label", False):
            return jnp.log(found) - jnp.log(jnp.maximum(1 - found, _LEAST))
        return centred(jnp.log(found))

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        whole = seen.predictions["probabilities"] if scale == "probability" else self.logits(seen)
        return taken(whole, choice)
