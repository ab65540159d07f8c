"""Contrastive losses of a batch of pairs: softmax over the batch."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.nn.dense import parameter
from mmjax.objectives.base import Context, Objective
from mmjax.objectives.pairwise import MASKED, chunk_of, over_pairs


def clip_loss(
    a: Float[Array, "b e"],
    b: Float[Array, "b e"],
    logit_scale: Float[Array, ""] | float,
    *,
    label_smoothing: float = 0.0,
    mask: Bool[Array, "b"] | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """InfoNCE both ways (Radford et al. 2021, figure 3), the mean of the two.

    Row i of `a` belongs to row i of `b`; all other rows are its negatives. Embeddings are taken as
    they are given (normalising is the caller's), `logit_scale` is the multiplier itself. Smoothing
    mixes the uniform distribution over the batch into the targets, as torch's `cross_entropy` does.
    Rows where `mask` is False are no pair and nobody's negative.

    With `chunk`, no more than `chunk` columns of the similarities `[b b]` exist at a time, in the
    backward pass too; None is all of up to 4096 rows, else up to 1024. Everything is in float32.
    Equals OpenCLIP's `ClipLoss`.
    """
    valid = jnp.ones(a.shape[0], bool) if mask is None else mask
    count = jnp.maximum(valid.sum(), 1).astype(jnp.float32)
    scale = jnp.asarray(logit_scale, jnp.float32)
    rows, columns, sums = _statistics(a, b, scale, valid, chunk)
    own = scale * jnp.sum(a.astype(jnp.float32) * b.astype(jnp.float32), axis=-1)
    # The sum over all pairs serves both directions.
    spread = label_smoothing * sums / count
    sharp = (1.0 - label_smoothing) * own
    both = 0.5 * (rows + columns) - sharp
    return (jnp.sum(jnp.where(valid, both, 0.0)) - spread) / count


def _statistics(
    a: Array, b: Array, scale: Array, valid: Array, chunk: int | None
) -> tuple[Array, Array, Array]:
    """log-sum-exp of each row and column of the logits, and the sum of all valid ones."""
    size = a.shape[0]
    chunk = chunk_of(chunk, size)

    @jax.checkpoint
    def block(carry: tuple[Array, Array, Array], part: tuple[Array, Array]):
        highest, total, sums = carry
        columns, here = part
        logits = scale * jnp.einsum("be,ce->bc", a, columns, preferred_element_type=jnp.float32)
        both = valid[:, None] & here[None, :]
        sums = sums + jnp.sum(jnp.where(both, logits, 0.0))
        logits = jnp.where(both, logits, MASKED)
        # The shift cancels; without a gradient it also cancels in the backward pass.
        shift = jax.lax.stop_gradient(jnp.maximum(highest, logits.max(axis=1)))
        total = total * jnp.exp(highest - shift) + jnp.exp(logits - shift[:, None]).sum(axis=1)
        return (shift, total, sums), jax.nn.logsumexp(logits, axis=0)

    # A row that is no pair would sum exp(0) over its masked logits: it is left out by the caller.
    start = (
        jnp.full(size, MASKED, jnp.float32),
        jnp.zeros(size, jnp.float32),
        jnp.zeros((), jnp.float32),
    )
    if chunk == size:
        (highest, total, sums), columns = block(start, (b, valid))
        return highest + jnp.log(total), columns, sums
    parts = (b.reshape(-1, chunk, b.shape[1]), valid.reshape(-1, chunk))
    (highest, total, sums), columns = jax.lax.scan(block, start, parts)
    return highest + jnp.log(total), columns.reshape(-1), sums


class PairedObjective(Objective, kw_only=True):
    """A loss of pairs of modalities in the joint space, the mean over the pairs.

    `modalities` are those that are paired, all of the model's if empty: each with each, or each
    with `centre` alone (ImageBind, Girdhar et al. 2023). `logit_scale` starts at 1 / `temperature`
    and stays below `max_scale`; a learned `logit_bias` starts at `first_bias`, if that is given.
    """

    modalities: tuple[str, ...] = ()
    centre: str | None = None
    temperature: float = 0.07
    max_scale: float = 100.0
    chunk: int | None = None
    """Columns of the similarities that exist at a time; None is all of up to 4096, else 1024."""
    first_bias: float | None = None

    batch_coupled: ClassVar[bool] = True
    uses_joint_space: ClassVar[bool] = True

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        log_scale = self._scalar("logit_scale", -math.log(self.temperature))
        scale = jnp.exp(jnp.minimum(log_scale, math.log(self.max_scale)))
        bias = None if self.first_bias is None else self._scalar("logit_bias", self.first_bias)

        def loss(a: str, b: str, rows: Array) -> Array:
            return self.loss(context.embed(a), context.embed(b), scale, bias, rows)

        found = over_pairs(context, self.modalities, loss, centre=self.centre)
        scale_sum = jax.lax.stop_gradient(scale) * found.metrics["count"]
        return dataclasses.replace(found, metrics={**found.metrics, "logit_scale_sum": scale_sum})

    def loss(
        self, a: Array, b: Array, scale: Array, bias: Array | None, rows: Array
    ) -> Float[Array, ""]:
        """Of one pair of modalities."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def _scalar(self, name: str, first: float) -> Float[Array, ""]:
        init = nn.initializers.constant(first)
        return parameter(self, name, (), (), init=init, param_dtype=jnp.float32)


class Contrastive(PairedObjective, kw_only=True):
    """InfoNCE of pairs of modalities: `clip_loss` of their vectors in the joint space."""

    label_smoothing: float = 0.0

    batch_coupled: ClassVar[bool] = True

    def loss_of_chance(self, batch_size: int) -> float:
        return math.log(batch_size)

    def loss(
        self, a: Array, b: Array, scale: Array, bias: Array | None, rows: Array
    ) -> Float[Array, ""]:
        smoothing = self.label_smoothing
        return clip_loss(a, b, scale, label_smoothing=smoothing, mask=rows, chunk=self.chunk)
