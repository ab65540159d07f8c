"""Contrastive learning towards an averaged encoder, with a queue of its vectors as negatives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.nn.dense import parameter
from mmjax.objectives.base import Context, Objective, Request
from mmjax.objectives.pairwise import MASKED, by_rows, cosines, mean_over, over_pairs
from mmjax.objectives.queue import Queue, empty_queue, enqueue
from mmjax.parallel.sharding import everywhere


def momentum_contrastive_loss(
    a: Float[Array, "b e"],
    b: Float[Array, "b e"],
    a_momentum: Float[Array, "b e"],
    b_momentum: Float[Array, "b e"],
    queue_a: Float[Array, "k e"],
    queue_b: Float[Array, "k e"],
    logit_scale: Float[Array, ""] | float,
    *,
    alpha: Float[Array, ""] | float = 0.4,
    mask: Bool[Array, "b"] | None = None,
    queue_valid: Bool[Array, "k"] | None = None,
    rows: Int[Array, "b"] | None = None,
    queue_rows: Int[Array, "k"] | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """InfoNCE both ways against averaged vectors, with soft targets; the mean of the two.

    Row i of `a` is held against `b_momentum` and `queue_b` together. Its target is
    alpha * softmax(logit_scale * a_momentum . them) + (1 - alpha) * one-hot(i): ALBEF, Li et al.
    2021, equation 6, in the cross-entropy form of its code; alpha 0 is MoCo (He et al. 2020).
    Nothing flows back through targets, averaged vectors and queues. Vectors are taken as they are
    given. Rows where `mask` is False are no pair and nobody's negative, as are those of the queues
    where `queue_valid` is False; an entry whose number in `queue_rows` is the row's own in `rows`
    is none to that row. With `chunk`, no more than `chunk` rows of the
    similarities `[b b+k]` exist at a time, in the backward pass too. In float32.
    """
    size = a.shape[0]
    valid = jnp.ones(size, bool) if mask is None else mask
    seen = jnp.ones(queue_a.shape[0], bool) if queue_valid is None else queue_valid
    scale = jnp.asarray(logit_scale, jnp.float32)
    examples = jnp.zeros(size, jnp.int32) if rows is None else rows

    def one_way(vectors: Array, averaged: Array, others: Array, queue: Array) -> Array:
        candidates = jnp.concatenate([others, queue.astype(others.dtype)])
        candidates = everywhere(jax.lax.stop_gradient(candidates))

        def losses(index: Array, own: Array, teacher: Array, example: Array) -> Array:
            entries = jnp.broadcast_to(seen, (len(index), len(seen)))
            if queue_rows is not None:
                entries &= example[:, None] != queue_rows[None, :]
            shown = jnp.concatenate([jnp.broadcast_to(valid, (len(index), size)), entries], axis=1)
            guess = jax.lax.stop_gradient(scale * cosines(teacher, candidates))
            guess = jax.nn.softmax(jnp.where(shown, guess, MASKED))
            one_hot = index[:, None] == jnp.arange(shown.shape[1])
            targets = alpha * guess + (1.0 - alpha) * one_hot
            logits = jnp.where(shown, scale * cosines(own, candidates), MASKED)
            log_p = jnp.where(shown, jax.nn.log_softmax(logits), 0.0)
            return -jnp.sum(targets * log_p, axis=1)

        anchors = (jnp.arange(size), vectors, averaged, examples)
        return mean_over(by_rows(losses, anchors, chunk), valid)

    ways = one_way(a, a_momentum, b_momentum, queue_b), one_way(b, b_momentum, a_momentum, queue_a)
    return 0.5 * (ways[0] + ways[1])


class MomentumContrastive(Objective, kw_only=True):
    """ALBEF's contrastive objective: `momentum_contrastive_loss` of pairs in the joint space.

    Needs averaged parameters: their encoders and projections make the targets and the candidates.
    The last `queue_size` examples that had all `modalities` are negatives too, kept in the
    collection `queue`; an entry of the row's own thing (`Context.things`), such as the row itself
    in an earlier pass over the data, is none. The queue starts empty and is written in training
    alone; without one (`queue_size` 0) the batch alone has negatives. `logit_scale` starts at
    1 / `temperature`, is learned, and stays below `max_scale`.
    """

    modalities: tuple[str, ...] = ("text", "image")
    queue_size: int = 65536
    alpha: float = 0.4
    """The share of the averaged model's similarities in the targets."""
    alpha_warmup: int = 0
    """Training examples over which `alpha` rises from 0; those of the first epoch in ALBEF."""
    temperature: float = 0.07
    max_scale: float = 1000.0
    chunk: int | None = None
    """Rows of the similarities that exist at a time; None is all of up to 4096, else 1024."""

    batch_coupled: ClassVar[bool] = True
    uses_joint_space: ClassVar[bool] = True

    def loss_of_chance(self, batch_size: int) -> float:
        """Once the queue is full."""
        return math.log(batch_size + self.queue_size)

    def requests(self) -> dict[str, Request]:
        return {averaged(name): Request(name, momentum=True) for name in self.modalities}

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        init = nn.initializers.constant(-math.log(self.temperature))
        log_scale = parameter(self, "logit_scale", (), (), init=init, param_dtype=jnp.float32)
        scale = jnp.exp(jnp.minimum(log_scale, math.log(self.max_scale)))
        towards = {
            name: jax.lax.stop_gradient(context.embed(averaged(name))) for name in self.modalities
        }
        empty = empty_queue(self.queue_size, {name: x.shape[1] for name, x in towards.items()})
        state = self._kept(empty, train=train)
        queue = Queue(**{name: one.value for name, one in state.items()}) if state else empty
        things = context.things
        alpha = self._alpha(context.rows(), train=train)

        def loss(a: str, b: str, found: Array) -> Array:
            return momentum_contrastive_loss(
                context.embed(a),
                context.embed(b),
                towards[a],
                towards[b],
                queue.vectors[a],
                queue.vectors[b],
                scale,
                alpha=alpha,
                mask=found,
                queue_valid=queue.valid,
                rows=things,
                queue_rows=queue.row,
                chunk=self.chunk,
            )

        found = over_pairs(context, self.modalities, loss)
        if train and not self.is_initializing():
            new = enqueue(queue, towards, context.rows(*self.modalities), things)
            for name, one in state.items():
                one.value = getattr(new, name)
        count = found.metrics["count"]
        extra = {
            "logit_scale_sum": jax.lax.stop_gradient(scale) * count,
            "queue_filled_sum": queue.filled.astype(jnp.float32) * count,
        }
        return ObjectiveOutput(found.loss, found.weight, {**found.metrics, **extra})

    def _alpha(self, rows: Array, *, train: bool) -> Array | float:
        """The share after the examples that were seen before these rows."""
        if not (self.alpha_warmup and self._has_state(train=train)):
            return self.alpha
        examples = self.variable("queue", "examples", jnp.zeros, (), jnp.int32)
        share = examples.value / self.alpha_warmup
        if train and not self.is_initializing():
            examples.value = jnp.minimum(examples.value + rows.sum(), self.alpha_warmup)
        return self.alpha * share

    def _has_state(self, *, train: bool) -> bool:
        kept = self.has_variable("queue", "row")
        return train or kept or self.is_mutable_collection("queue")

    def _kept(self, empty: Queue, *, train: bool) -> Mapping[str, nn.Variable]:
        """The queue's parts; nothing in evaluation where none is kept."""
        if not self._has_state(train=train):
            return {}
        return {
            field.name: self.variable(
                "queue", field.name, lambda name=field.name: getattr(empty, name)
            )
            for field in dataclasses.fields(empty)
        }


def averaged(modality: str) -> str:
    """The name of the forward that the averaged encoder makes."""
    return f"{modality}/momentum"
