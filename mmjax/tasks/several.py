"""Several tasks at once: a head each, on what one model makes of a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Batch, Fused, TaskOutput, Tokens
from mmjax.core.typing import Array
from mmjax.tasks import TaskSpec
from mmjax.tasks.answers.several import Several as Answered
from mmjax.tasks.base import Task, unlabelled


def _given() -> Any:
    return dataclasses.field(default_factory=dict, metadata={"fact": True})


class Several(Task, kw_only=True):
    """The tasks `tasks`, by names of your own, each with its target and its head.

    The loss is the sum of theirs, times `weights` (1 where there is none), each over all rows: a
    row without one of the targets counts in the losses of the others. Sums, metrics and predictions
    are called `<name>/...`, and a row is decoded to what each task says of it, by name:
    `{"sign": {"label": "stop", ...}, "decision": {"label": "brake", ...}}`.

    Raises ConfigError for weights of other names, and without tasks.
    """

    tasks: Mapping[str, TaskSpec] = dataclasses.field(default_factory=dict)
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    parts: Mapping[str, Task] = _given()
    """What `tasks` name, built."""

    needs_texts: ClassVar[bool] = True
    of_parts: ClassVar[bool] = True
    """Whether the tasks that it is made of are built first, and given to it."""

    @property
    def headline(self) -> tuple[str, ...]:  # type: ignore[override]
        """The first metrics of all tasks, then the second ones, and so on."""
        own = [[f"{name}/{one}" for one in part.headline] for name, part in self.parts.items()]
        longest = max(map(len, own), default=0)
        return tuple(one[i] for i in range(longest) for one in own if i < len(one))

    @property
    def compares_rows(self) -> bool:
        return any(part.compares_rows for part in self.parts.values())

    @property
    def needs_tokens(self) -> bool:
        """Whether a task has heads that read what the encoders made."""
        return any(getattr(part, "needs_tokens", False) for part in self.parts.values())

    def __call__(
        self,
        fused: Fused,
        batch: Batch,
        *,
        train: bool,
        tokens: Mapping[str, Tokens] | None = None,
    ) -> TaskOutput:
        found = {}
        for name, part in self.parts.items():
            more = {"tokens": tokens} if getattr(part, "needs_tokens", False) else {}
            found[name] = part(fused, batch, train=train, **more)
        return self._together(found, batch)

    def head_outputs(self, fused: Fused, *, train: bool) -> dict[str, Array]:  # type: ignore[override]
        """Those of each task by its name."""
        return {name: one.head_outputs(fused, train=train) for name, one in self.parts.items()}

    def output(self, outputs: Mapping[str, Array], batch: Batch) -> TaskOutput:  # type: ignore[override]
        """Loss, sums and predictions of all tasks."""
        found = {name: part.output(outputs[name], batch) for name, part in self.parts.items()}
        return self._together(found, batch)

    def _together(self, found: Mapping[str, TaskOutput], batch: Batch) -> TaskOutput:
        self._check()
        metrics: dict[str, Any] = {}
        predictions: dict[str, Any] = {}
        for name, one in found.items():
            metrics |= {f"{name}/{key}": value for key, value in one.metrics.items()}
            predictions |= {f"{name}/{key}": value for key, value in one.predictions.items()}
        if not metrics:
            return unlabelled(predictions)
        weight = jnp.asarray(batch.row_mask).sum(dtype=jnp.float32)
        # Over one number for all, so that losses of parts of a batch add up to that of the whole.
        total = jnp.zeros((), jnp.float32)
        for name, one in found.items():
            total += self.weights.get(name, 1.0) * one.loss * one.weight
        return TaskOutput(total / jnp.maximum(weight, 1e-9), weight, metrics, predictions)

    def _check(self) -> None:
        if not self.parts:
            raise ConfigError(
                109,
                "the task 'several' has no tasks",
                where="task.tasks",
                fix="name them, such as {'sign': Spec('classification', target='sign')}",
            )
        for name, value in self.weights.items():
            if name not in self.parts:
                raise ConfigError(
                    109,
                    f"a weight for '{name}', which is no task",
                    where="task.weights",
                    fix=nearest(name, self.parts),
                )
            if not 0 <= value < float("inf"):
                raise ConfigError(
                    106, f"task.weights.{name} = {value} is out of range", fix="0 or more"
                )

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """Those of each task, of its own sums."""
        found: dict[str, float] = {}
        for name, (part, own) in self._own(sums):
            if own:
                found |= {f"{name}/{key}": value for key, value in part.compute(own).items()}
        return found

    def compute(self, sums: Mapping[str, Any]) -> dict[str, float]:
        return self.compute_own(sums)

    def evaluate(
        self,
        predictions: Mapping[str, np.ndarray],
        targets: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[Any]] | None = None,
    ) -> dict[str, float]:
        """The metrics of each task that need every row; of those whose target there is."""
        found: dict[str, float] = {}
        for name, (part, own) in self._own(predictions):
            if not _has_target(part, targets):
                continue
            more: dict[str, Any] = {"texts": texts} if part.needs_texts else {}
            values = part.evaluate(own, targets, **more)
            found |= {f"{name}/{key}": value for key, value in values.items()}
        return found

    def answers(self) -> Answered:
        return Answered({name: part.answers() for name, part in self.parts.items()})

    def each(
        self, predictions: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[Task, Mapping[str, Any]]]:
        for _, (part, own) in self._own(predictions):
            yield from part.each(own)

    def _own(self, values: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Task, dict[str, Any]]]]:
        """Each task, and the values that are its own, by its name."""
        for name, part in self.parts.items():
            start = f"{name}/"
            yield (
                name,
                (part, {k[len(start) :]: v for k, v in values.items() if k.startswith(start)}),
            )


def _has_target(part: Task, targets: Mapping[str, Any]) -> bool:
    """Whether it is there, or not needed."""
    return getattr(part, "target", None) in targets or not getattr(part, "needs_target", True)
