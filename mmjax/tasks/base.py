"""What every task offers, to whoever fuses features and to whoever fuses decisions."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Float
from mmjax.tasks.answers.base import Answers

OutputKind = Literal["classes", "labels", "values"]
"""What the numbers of a head mean: logits of classes that exclude each other `[b ... classes]`,
logits of labels that do not `[b ... labels]`, or real numbers `[b ...]`."""


class Task(nn.Module, abc.ABC, kw_only=True):
    """A head, and what follows from its outputs, apart: `task(fused, batch)` is both in a row.

    `head_outputs` alone has parameters. `output` turns outputs, wherever they came from, into loss,
    sums and predictions, so that the outputs of several heads can be combined and judged by the
    same loss. What cannot be combined by averaging says so: its `outputs_are` is None.
    """

    outputs_are: ClassVar[OutputKind | None] = None
    headline: ClassVar[tuple[str, ...]] = ()
    """The metrics that the console and the curves show."""
    needs_texts: ClassVar[bool] = False
    """Whether `evaluate` also takes `texts`, those that `decode` takes."""

    @property
    def compares_rows(self) -> bool:
        """Whether the loss of a row depends on other rows, so that none may be left out of it."""
        return False

    def __call__(self, fused: Fused, batch: Batch, *, train: bool) -> TaskOutput:
        return self.output(self.head_outputs(fused, train=train), batch)

    @abc.abstractmethod
    def head_outputs(self, fused: Fused, *, train: bool) -> Array:
        """The head: a compact method."""

    @abc.abstractmethod
    def output(self, outputs: Array, batch: Batch) -> TaskOutput:
        """Loss, sums and predictions. Without its target in the batch: a loss of 0, no sums."""

    def truth(self, batch: Batch) -> Float[Array, "b ..."] | None:
        """The target as the ideal outputs: one-hot classes, labels of 0 or 1, or the values.

        None where the batch has no target, or the task no such form of it. Rows that do not count
        may hold anything.
        """
        return None

    def log_prior(self) -> Float[Array, "v"] | None:
        """How common each class is among the training rows, as a logarithm; None if not known."""
        return None

    @abc.abstractmethod
    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of summed `TaskOutput.metrics`."""

    @abc.abstractmethod
    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """The metrics that need every row."""

    def answers(self) -> Answers:
        """What its predictions are told by, apart from the model.

        Raises ConfigError for a task that has its own `decode` alone, which cannot be exported.
        """
        raise ConfigError(
            109,
            f"{type(self).__name__} does not say how its predictions are told",
            where="task",
            fix="give it `answers`, one of mmjax.tasks.answers",
        )

    def decode(
        self,
        predictions: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[Any]] | None = None,
    ) -> list[dict[str, Any]]:
        """One JSON-able dictionary a row, as `answers` says.

        `texts` are the rows' own texts by modality, for a task whose answers are parts of them.
        """
        return self.answers().decode(predictions, texts)

    def tune(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """What is chosen on validation rows after training: facts, as JSON values, that the task is
        built with from then on. Their predictions are those of the very rows, on the host.
        """
        return {}

    def each(
        self, predictions: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[Task, Mapping[str, np.ndarray]]]:
        """The tasks that this one is made of, itself if of none, each with its own predictions."""
        yield self, predictions

    def compute(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of sums, and the headline of those that a head of its own made.

        Sums called `text/...` are those of the head of `text`; their metrics are `text_...`.
        """
        parts: dict[str, dict[str, Any]] = {"": {}}
        for name, value in sums.items():
            part, _, own = name.rpartition("/")
            parts.setdefault(part, {})[own] = value
        found = self.compute_own(parts.pop(""))
        for part, own_sums in parts.items():
            own_metrics = self.compute_own(own_sums)
            found |= {f"{part}_{k}": v for k, v in own_metrics.items() if k in self.headline}
        return found


def unlabelled(predictions: Mapping[str, Array]) -> TaskOutput:
    """Of a batch without the target: a loss of 0, no sums."""
    zero = jnp.zeros((), jnp.float32)
    return TaskOutput(zero, zero, {}, predictions)


def log_shares(counts: Sequence[int]) -> Float[Array, "v"]:
    """How common each class is, as a logarithm; one that never occurs counts as if once."""
    known = np.maximum(np.asarray(counts, np.float64), 1.0)
    return jnp.asarray(np.log(known / known.sum()), jnp.float32)


def class_logits(outputs: Float[Array, "..."], kind: OutputKind) -> Float[Array, "... c"]:
    """Outputs as logits over classes on the last axis; a label gets one, with the classes no, yes.

    As logits they are determined up to a constant a row.
    """
    if kind == "labels":
        return jnp.stack([-outputs / 2, outputs / 2], axis=-1)
    return outputs


def from_class_logits(logits: Float[Array, "... c"], kind: OutputKind) -> Float[Array, "..."]:
    """The inverse of `class_logits`."""
    return logits[..., 1] - logits[..., 0] if kind == "labels" else logits
