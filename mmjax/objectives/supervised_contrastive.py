"""Contrastive learning among the rows of a label."""

from __future__ import annotations

from typing import ClassVar

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.objectives.base import Context, Objective, output, require_modalities
from mmjax.objectives.pairwise import MASKED, by_rows, cosines


def supervised_contrastive_loss(
    vectors: Float[Array, "b e"],
    labels: Int[Array, "b"],
    logit_scale: Float[Array, ""] | float,
    *,
    mask: Bool[Array, "b"] | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """-log p(j | i), averaged over the j of i's label, then over all i that have one.

    L_out of Khosla et al. 2020, equation 2; p(. | i) is the softmax of logit_scale * i . j over all
    rows but i. Vectors are taken as they are given, a label's views are rows of their own. Rows
    where `mask` is False count nowhere. With `chunk`, no more than `chunk` rows of
    the similarities exist at a time, in the backward pass too. In float32.
    """
    return output(*_losses(vectors, labels, logit_scale, mask, chunk)).loss


def _losses(
    vectors: Array,
    labels: Array,
    logit_scale: Array | float,
    mask: Array | None,
    chunk: int | None,
) -> tuple[Float[Array, "b"], Bool[Array, "b"]]:
    """Of each row, and which rows have one: those with another row of their label."""
    size = vectors.shape[0]
    valid = jnp.ones(size, bool) if mask is None else mask

    def of_rows(index: Array, own: Array, label: Array, here: Array) -> tuple[Array, Array]:
        others = here[:, None] & valid[None, :] & (index[:, None] != jnp.arange(size))
        positives = others & (label[:, None] == labels[None, :])
        logits = jnp.where(others, logit_scale * cosines(own, vectors), MASKED)
        log_p = jnp.where(positives, jax.nn.log_softmax(logits), 0.0)
        count = positives.sum(axis=1)
        return -log_p.sum(axis=1) / jnp.maximum(count, 1), count > 0

    return by_rows(of_rows, (jnp.arange(size), vectors, jnp.asarray(labels), valid), chunk)


class SupervisedContrastive(Objective, kw_only=True):
    """`supervised_contrastive_loss` in the joint space, by the labels of `target`.

    The modalities of a row are its views: all vectors of one label attract each other, within a
    modality and across. Batches without the target have no loss.
    """

    target: str = "label"
    modalities: tuple[str, ...] = ()
    """Those that are compared; none is all of the model's."""
    temperature: float = 0.1
    chunk: int | None = None
    """Vectors whose similarities exist at a time; None is all of up to 4096, else 1024."""

    batch_coupled: ClassVar[bool] = True
    uses_joint_space: ClassVar[bool] = True

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        require_modalities(self.modalities, context.modalities, "objectives.modalities")
        names = self.modalities or tuple(context.modalities)
        # The views of a row stay together, on its device.
        vectors = jnp.stack([context.embed(name) for name in names], axis=1)
        mask = jnp.stack([context.rows(name) for name in names], axis=1)
        labels = jnp.zeros(len(mask), jnp.int32)
        if self.target in context.batch.targets:
            labels = jnp.asarray(context.batch.targets[self.target])
        else:
            mask = jnp.zeros_like(mask)
        losses, weights = _losses(
            einops.rearrange(vectors, "b k e -> (b k) e"),
            einops.repeat(labels, "b -> (b k)", k=len(names)),
            1.0 / self.temperature,
            einops.rearrange(mask, "b k -> (b k)"),
            self.chunk,
        )
        return output(losses, weights)
