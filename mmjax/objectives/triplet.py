"""The triplet loss of a batch of pairs."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.objectives.base import Context, Objective
from mmjax.objectives.pairwise import MASKED, by_rows, cosines, mean_over, over_pairs

Mining = Literal["hard", "all"]


def triplet_loss(
    a: Float[Array, "b e"],
    b: Float[Array, "b e"],
    *,
    margin: float = 0.2,
    mining: Mining = "hard",
    mask: Bool[Array, "b"] | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """max(0, margin + d(i, i) - d(i, j)) both ways, the mean of the two; d is 1 - cosine.

    The anchor is a row of one side, its positive the same row of the other side, its negatives the
    other rows there: the nearest alone ("hard": Hermans et al. 2017, equation 5; across modalities
    VSE++, Faghri et al. 2018, equation 6), or the mean over them ("all", equation 6 of Hermans).
    Vectors are of unit length, as they are given. Rows where `mask` is False are no pair and
    nobody's negative; a pair alone has no triplet. With `chunk`, no more than
    `chunk` rows of the similarities exist at a time, in the backward pass too. In float32.
    """
    size = a.shape[0]
    valid = jnp.ones(size, bool) if mask is None else mask
    anchors = valid & (valid.sum() > 1)

    def one_way(ours: Array, theirs: Array) -> Array:
        def losses(index: Array, anchor: Array, positive: Array) -> Array:
            others = valid[None, :] & (index[:, None] != jnp.arange(size))
            own = jnp.sum(anchor.astype(jnp.float32) * positive.astype(jnp.float32), axis=1)
            similarity = cosines(anchor, theirs)
            if mining == "hard":
                nearest = jnp.where(others, similarity, MASKED).max(axis=1)
                return jax.nn.relu(margin - own + nearest)
            each = jax.nn.relu(margin - own[:, None] + similarity)
            return jnp.where(others, each, 0.0).sum(axis=1) / jnp.maximum(others.sum(axis=1), 1)

        return mean_over(by_rows(losses, (jnp.arange(size), ours, theirs), chunk), anchors)

    return 0.5 * (one_way(a, b) + one_way(b, a))


class Triplet(Objective, kw_only=True):
    """`triplet_loss` of pairs of modalities in the joint space, the mean over the pairs."""

    modalities: tuple[str, ...] = ()
    """Those that are paired; none is all of the model's."""
    margin: float = 0.2
    mining: Mining = "hard"
    chunk: int | None = None
    """Rows of the similarities that exist at a time; None is all of up to 4096, else 1024."""

    batch_coupled: ClassVar[bool] = True
    uses_joint_space: ClassVar[bool] = True

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        def loss(a: str, b: str, rows: Array) -> Array:
            return triplet_loss(
                context.embed(a),
                context.embed(b),
                margin=self.margin,
                mining=self.mining,
                mask=rows,
                chunk=self.chunk,
            )

        return over_pairs(context, self.modalities, loss)
