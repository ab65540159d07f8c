"""Tasks that also learn what a teacher says of each row."""

from __future__ import annotations

import abc
import dataclasses

import jax
import jax.numpy as jnp

from mmjax.core.types import Batch, TaskOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.objectives.distillation import distillation_loss
from mmjax.tasks.base import class_logits
from mmjax.tasks.classification import Classification
from mmjax.tasks.heads import PooledTask
from mmjax.tasks.losses import require
from mmjax.tasks.multi_label import MultiLabel
from mmjax.tasks.regression import Regression


class Distilled(PooledTask, kw_only=True):
    """A task whose loss has a share of how far it is from a teacher (Hinton et al. 2015).

    (1 - w) times the loss of the labels, and w times the distance, where w is `teacher_weight`
    times the share of the batch's rows that the teacher knows. What it says is the target `teacher`
    of kind "vector": its numbers, and a last one that is 1, or a row of zeros where it knows
    nothing. Where a batch has none, as in evaluation, it is a task like any other: its head is the
    same.
    """

    teacher: str = "teacher"
    teacher_weight: float = 0.5

    @abc.abstractmethod
    def distance(
        self, outputs: Float[Array, "b o"], told: Float[Array, "b o"], known: Bool[Array, "b"]
    ) -> Float[Array, ""]:
        """How far outputs are from what the teacher says, the mean over the rows that it knows."""

    def output(self, outputs: Float[Array, "b o"], batch: Batch) -> TaskOutput:
        own = super().output(outputs, batch)  # type: ignore[safe-super]
        told = batch.targets.get(self.teacher)
        if told is None or self.target not in batch.targets:
            return own
        weight = self.teacher_weight
        require("teacher_weight", 0 <= weight <= 1, weight, "0 to 1")
        numbers, rows = jnp.asarray(told, jnp.float32), jnp.asarray(batch.row_mask)
        known = rows & (numbers[:, -1] > 0)
        soft = self.distance(outputs.astype(jnp.float32), numbers[:, :-1], known)
        share = weight * known.sum() / jnp.maximum(rows.sum(), 1)
        return dataclasses.replace(own, loss=(1 - share) * own.loss + share * soft)


class DistilledClassification(Distilled, Classification, kw_only=True):
    """Classification by labels and by a teacher's probabilities, in the order of the label names.

    The distance is temperature^2 KL(teacher || student), both softened by `temperature`.
    """

    temperature: float = 2.0

    def distance(
        self, outputs: Float[Array, "b v"], told: Float[Array, "b v"], known: Bool[Array, "b"]
    ) -> Float[Array, ""]:
        require("temperature", self.temperature > 0, self.temperature, "more than 0")
        log_p = jnp.log(jnp.maximum(told, 1e-9))
        return distillation_loss(outputs, log_p, temperature=self.temperature, mask=known)


class DistilledMultiLabel(Distilled, MultiLabel, kw_only=True):
    """Labels, each by what is known and by a teacher's probability of it.

    The distance is that of `DistilledClassification` for each label's yes and no, their mean.
    """

    temperature: float = 2.0

    def distance(
        self, outputs: Float[Array, "b v"], told: Float[Array, "b v"], known: Bool[Array, "b"]
    ) -> Float[Array, ""]:
        require("temperature", self.temperature > 0, self.temperature, "more than 0")
        inside = jnp.clip(told, 1e-6, 1 - 1e-6)
        log_p = jnp.log(jnp.stack([1 - inside, inside], axis=-1))
        return distillation_loss(
            class_logits(outputs, "labels").reshape(-1, 2),
            log_p.reshape(-1, 2),
            temperature=self.temperature,
            mask=jnp.repeat(known, outputs.shape[1]),
        )


class DistilledRegression(Distilled, Regression, kw_only=True):
    """Numbers by what is known and by a teacher's numbers, in the units of the batch.

    The distance is the task's own loss with the teacher's numbers for the true ones; of quantiles
    the squared difference from the teacher's, since the pinball loss would draw all to one point.
    """

    def distance(
        self, outputs: Float[Array, "b o"], told: Float[Array, "b o"], known: Bool[Array, "b"]
    ) -> Float[Array, ""]:
        told = jax.lax.stop_gradient(told)
        if self.loss == "quantile":
            apart = (outputs - told) ** 2
        else:
            apart = self._losses(outputs, None, told)
        rows = jnp.where(known, apart.mean(axis=-1), 0.0)
        return rows.sum() / jnp.maximum(known.sum(), 1)
