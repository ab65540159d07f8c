"""Ordinal classification: one label of several that have an order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Float
from mmjax.metrics.ordinal import ordinal_from_confusion
from mmjax.nn.dense import parameter
from mmjax.tasks.answers.classes import Ranks
from mmjax.tasks.base import OutputKind, log_shares, unlabelled
from mmjax.tasks.heads import PooledTask, pooled_head


def corn_log_probabilities(logits: Float[Array, "b k"]) -> Float[Array, "b v"]:
    """Of v = k + 1 ranks, where sigmoid(logit k) is P(rank > k | rank > k - 1).

    Shi, Cao and Raschka 2021, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On
    Conditional Probabilities", equations 1 and 2: P(rank > k) is the product of those up to k.
    """
    above = jnp.cumsum(jax.nn.log_sigmoid(logits), axis=-1)
    reached = jnp.concatenate([jnp.zeros_like(above[:, :1]), above], axis=-1)
    stays = jnp.concatenate([jax.nn.log_sigmoid(-logits), jnp.zeros_like(above[:, :1])], axis=-1)
    return reached + stays


def cumulative_link_log_probabilities(
    score: Float[Array, "b"], cuts: Float[Array, "k"]
) -> Float[Array, "b v"]:
    """Of v = k + 1 ranks, where P(rank <= k) is sigmoid(cuts[k] - score), cuts ascending.

    McCullagh 1980, "Regression Models for Ordinal Data": proportional odds.
    """
    upto = cuts[None] - score[:, None]
    # log(sigmoid(a) - sigmoid(b)) for a > b is log sigmoid(a) + log sigmoid(-b) + log(1 - e^(b-a)).
    gaps = jnp.maximum(cuts[1:] - cuts[:-1], 1e-6)
    between = (
        jax.nn.log_sigmoid(upto[:, 1:])
        + jax.nn.log_sigmoid(-upto[:, :-1])
        + jnp.log(-jnp.expm1(-gaps))
    )
    first, last = jax.nn.log_sigmoid(upto[:, :1]), jax.nn.log_sigmoid(-upto[:, -1:])
    return jnp.concatenate([first, between, last], axis=-1)


class Ordinal(PooledTask, kw_only=True):
    """One of `num_labels` ranks, in the order of the label names.

    The head gives log-probabilities of the ranks: by "corn" from a logit for each rank but the
    first, or by a "cumulative_link" from one score and learned cuts. The loss is their negative
    log-likelihood; CORN's, the mean binary cross-entropy of all conditional tasks that a row takes
    part in, is the same sum over another number, the `min(rank + 1, num_labels - 1)` tasks of each
    row. Predictions are `probabilities` `[b num_labels]` and `rank` `[b]`, the median: the number
    of ranks k with P(rank > k) > 1/2.
    """

    target: str = "label"
    method: Literal["corn", "cumulative_link"] = "corn"
    num_labels: int = fact()
    label_names: tuple[str, ...] = fact(())
    label_counts: tuple[int, ...] = fact(())

    outputs_are: ClassVar[OutputKind | None] = "classes"
    headline: ClassVar[tuple[str, ...]] = ("mae", "quadratic_kappa")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Float[Array, "b v"]:
        tasks = self.num_labels - 1
        if self.method == "corn":
            logits = pooled_head(self, fused, tasks, train=train)
            return corn_log_probabilities(logits.astype(jnp.float32))
        score = pooled_head(self, fused, 1, train=train)[:, 0].astype(jnp.float32)
        first = parameter(self, "first_cut", (1,), (None,), init=_first_cut(tasks))
        cuts = first
        if tasks > 1:
            gaps = parameter(self, "gaps", (tasks - 1,), (None,), init=nn.initializers.zeros)
            steps = jnp.cumsum(jax.nn.softplus(gaps))
            cuts = jnp.concatenate([first, first + steps])
        return cumulative_link_log_probabilities(score, cuts)

    def output(self, outputs: Float[Array, "b v"], batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of log-probabilities, wherever they came from."""
        log_p = jax.nn.log_softmax(outputs.astype(jnp.float32))
        probabilities = jnp.exp(log_p)
        above = 1.0 - jnp.cumsum(probabilities, axis=-1)[:, :-1]
        rank = jnp.sum(above > 0.5, axis=-1, dtype=jnp.int32)
        predictions = {"probabilities": probabilities, "rank": rank}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        labels = jnp.where(rows > 0, jnp.asarray(batch.targets[self.target]), 0)
        losses = -jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
        tasks = jnp.minimum(labels + 1, self.num_labels - 1) if self.method == "corn" else 1
        weight = jnp.sum(rows * tasks).astype(jnp.float32)
        loss = jnp.sum(losses * rows) / jnp.maximum(weight, 1e-9)
        classes = self.num_labels
        confusion = jnp.einsum(
            "bt,bp->tp",
            jax.nn.one_hot(labels, classes) * rows[:, None],
            jax.nn.one_hot(rank, classes),
            precision="highest",
        )
        sums = {"confusion": confusion, "loss": jnp.sum(losses * rows), "weight": rows.sum()}
        return TaskOutput(loss, weight, sums, predictions)

    def truth(self, batch: Batch) -> Float[Array, "b v"] | None:
        if self.target not in batch.targets:
            return None
        return jax.nn.one_hot(jnp.asarray(batch.targets[self.target]), self.num_labels)

    def log_prior(self) -> Float[Array, "v"] | None:
        if not self.label_counts:
            return None
        return log_shares(self.label_counts)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """Everything that `mmjax.metrics.ordinal` tells, and `log_loss`."""
        weight = float(np.asarray(sums["weight"], np.float64))
        loss = float(sums["loss"]) / weight if weight else float("nan")
        return ordinal_from_confusion(sums["confusion"], self.label_names) | {"log_loss": loss}

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Nothing more: sums give all there is."""
        return {}

    def answers(self) -> Ranks:
        return Ranks(self.label_names or tuple(map(str, range(self.num_labels))))


def _first_cut(tasks: int) -> Any:
    """Where the first cut starts, so that all of them lie evenly around 0."""
    return nn.initializers.constant(-0.5 * (tasks - 1) * float(np.log(2.0)))
