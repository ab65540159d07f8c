"""Distillation of the similarities of a batch, from the averaged model or given vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.encoders.dual_tower import unit_length
from mmjax.objectives.base import Context, Objective, Request
from mmjax.objectives.momentum import averaged
from mmjax.objectives.pairwise import MASKED, by_rows, cosines, mean_over, over_pairs


def distillation_loss(
    student: Float[Array, "b n"],
    teacher: Float[Array, "b n"],
    *,
    temperature: float = 1.0,
    mask: Bool[Array, "b"] | None = None,
    columns: Bool[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """temperature^2 * KL(teacher || student) of two sets of logits, the mean over rows.

    Both are divided by `temperature` before the softmax; its square keeps the size of the gradient
    (Hinton et al. 2015, section 2.1). With the teacher's entropy, so 0 means agreement. Nothing
    flows back into `teacher`. Rows where `mask` is False do not count, `columns` that are False are
    no choice. In float32.
    """
    rows = jnp.ones(student.shape[0], bool) if mask is None else mask
    return mean_over(_divergence(student, teacher, temperature, columns), rows)


def _divergence(
    student: Array, teacher: Array, temperature: float, columns: Array | None
) -> Float[Array, "b"]:
    """Of each row."""
    shown = jnp.ones(student.shape[1], bool) if columns is None else columns
    ours, theirs = (
        jax.nn.log_softmax(jnp.where(shown, logits.astype(jnp.float32) / temperature, MASKED))
        for logits in (student, jax.lax.stop_gradient(teacher))
    )
    terms = jnp.where(shown, jnp.exp(theirs) * (theirs - ours), 0.0)
    return temperature**2 * terms.sum(axis=1)


class Distillation(Objective, kw_only=True):
    """`distillation_loss` of the similarities of pairs, from those of a teacher; both ways.

    The teacher is the averaged model: it needs averaged parameters, and evaluation, which uses
    these themselves, finds 0. Or, with `vectors`, it is what was known before: each modality's
    vectors in a space that the teacher's modalities share, as targets of kind "vector" (say the
    closed-form map of `fusion.alignment.kernel_ridge`). Rows without them do not count.

    The logits of a row are its cosines with all rows of the other modality in the joint space,
    divided by `temperature`, the teacher's by `teacher_temperature`; `softening` is the temperature
    of the distillation.
    """

    modalities: tuple[str, ...] = ("text", "image")
    vectors: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Modality -> the target that holds the teacher's vectors; none is the averaged model."""
    temperature: float = 0.07
    teacher_temperature: float | None = None
    """That of the student if None."""
    softening: float = 2.0
    chunk: int | None = None
    """Rows of the similarities that exist at a time; None is all."""

    batch_coupled: ClassVar[bool] = True
    uses_joint_space: ClassVar[bool] = True

    def requests(self) -> dict[str, Request]:
        if self.vectors:
            return {}
        return {averaged(name): Request(name, momentum=True) for name in self.modalities}

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        teachers = {name: self._teacher(context, name) for name in self.modalities}
        cold = self.teacher_temperature or self.temperature

        def one_way(a: str, b: str, rows: Array) -> Array:
            ours, theirs = context.embed(b), teachers[b]

            def losses(student: Array, teacher: Array) -> Array:
                return _divergence(
                    cosines(student, ours) / self.temperature,
                    cosines(teacher, theirs) / cold,
                    self.softening,
                    rows,
                )

            anchors = context.embed(a), teachers[a]
            return mean_over(by_rows(losses, anchors, self.chunk), rows)

        def loss(a: str, b: str, rows: Array) -> Array:
            known = [jnp.any(teachers[name] != 0, axis=1) for name in (a, b)]
            rows = rows & known[0] & known[1]
            return 0.5 * (one_way(a, b, rows) + one_way(b, a, rows))

        return over_pairs(context, self.modalities, loss)

    def _teacher(self, context: Context, name: str) -> Float[Array, "b e"]:
        """Of unit length; 0 where there is none."""
        if not self.vectors:
            return context.embed(averaged(name))
        if name not in self.vectors:
            raise ConfigError(
                109,
                f"the teacher has no vectors of '{name}'",
                where="objectives.vectors",
                fix=nearest(name, self.vectors),
            )
        found = context.batch.targets.get(self.vectors[name])
        if found is None:
            return jnp.zeros((len(context.rows()), 1), jnp.float32)
        return unit_length(jnp.asarray(found, jnp.float32))
