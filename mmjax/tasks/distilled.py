"""Single-label classification that also learns what a teacher says of each row."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from mmjax.core.types import Batch, TaskOutput
from mmjax.core.typing import Array, Float
from mmjax.objectives.distillation import distillation_loss
from mmjax.tasks.classification import Classification
from mmjax.tasks.losses import require


class DistilledClassification(Classification, kw_only=True):
    """Classification whose loss has a share from a teacher's probabilities (Hinton et al. 2015).

    (1 - w) times the loss of the labels, and w times temperature^2 KL(teacher || student) of both
    softened by `temperature`, where w is `teacher_weight` times the share of the batch's rows that
    the teacher knows. Its probabilities are the target `teacher` of kind "vector", in the order of
    the label names; rows of which they are 0 are those it does not know. Where a batch has none, as
    in evaluation, it is a classification like any other: its head is the same.
    """

    teacher: str = "teacher"
    teacher_weight: float = 0.5
    temperature: float = 2.0

    def output(self, outputs: Float[Array, "b v"], batch: Batch) -> TaskOutput:
        own = super().output(outputs, batch)
        told = batch.targets.get(self.teacher)
        if told is None or self.target not in batch.targets:
            return own
        weight = self.teacher_weight
        require("teacher_weight", 0 <= weight <= 1, weight, "0 to 1")
        require("temperature", self.temperature > 0, self.temperature, "more than 0")
        chances, rows = jnp.asarray(told, jnp.float32), jnp.asarray(batch.row_mask)
        known = rows & (chances.sum(axis=-1) > 0)
        log_p = jnp.log(jnp.maximum(chances, 1e-9))
        soft = distillation_loss(
            outputs.astype(jnp.float32), log_p, temperature=self.temperature, mask=known
        )
        share = weight * known.sum() / jnp.maximum(rows.sum(), 1)
        return dataclasses.replace(own, loss=(1 - share) * own.loss + share * soft)
