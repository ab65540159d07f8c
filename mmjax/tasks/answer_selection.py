"""Answer selection and re-ranking: how well a candidate fits, among those of its question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.metrics.selection import selection
from mmjax.tasks.answers.items import Scores
from mmjax.tasks.base import OutputKind, unlabelled
from mmjax.tasks.heads import PooledTask, pooled_head


class AnswerSelection(PooledTask, kw_only=True):
    """A score for a row that is a question, its context, and one candidate: a modality each.

    The loss is "pointwise": the mean binary cross-entropy of each candidate being right, or
    "listwise": minus the logarithm of the share of the right ones in the softmax over the
    candidates of a question, where there are right and wrong ones (ListNet's top one, Cao et al.
    2007), or "both", their sum. A list is of the candidates in the batch, so training by lists
    wants a target whose rows come `together`, and gradients of whole batches; in evaluation, where
    the loss is but told, a list may be cut. Predictions are `score` `[b]`, the logit, and
    `probability` `[b]`.
    """

    target: str = "label"
    loss: Literal["pointwise", "listwise", "both"] = "pointwise"
    together: bool = fact(True)
    """Whether training batches have all candidates of their questions."""

    outputs_are: ClassVar[OutputKind | None] = "labels"
    headline: ClassVar[tuple[str, ...]] = ("mrr", "map", "accuracy")

    @property
    def compares_rows(self) -> bool:
        return self.loss != "pointwise"

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Float[Array, "b 1"]:
        return pooled_head(self, fused, 1, train=train)

    def output(self, outputs: Float[Array, "b 1"], batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of logits, wherever they came from."""
        logits = outputs[:, 0].astype(jnp.float32)
        predictions = {"score": logits, "probability": jax.nn.sigmoid(logits)}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        target = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask).astype(bool)
        right = target[:, 1] > 0
        point = jnp.where(right, jax.nn.softplus(-logits), jax.nn.softplus(logits))
        weight = rows.sum(dtype=jnp.float32)
        loss = jnp.zeros((), jnp.float32)
        if self.loss != "listwise":
            loss += jnp.sum(jnp.where(rows, point, 0.0)) / jnp.maximum(weight, 1e-9)
        if self.loss != "pointwise":
            if not self.together:
                raise ConfigError(
                    109,
                    f"loss = '{self.loss}' compares candidates that are in different batches",
                    where="task.loss",
                    fix=f"data.targets.{self.target}.together=true, or task.loss=pointwise",
                )
            lists = _listwise(logits, right, target[:, 0], rows)
            loss += jnp.sum(lists) / jnp.maximum(weight, 1e-9)
        hits = (logits > 0) == right
        sums = {
            "correct": jnp.sum(rows & hits, dtype=jnp.float32),
            "loss": jnp.sum(jnp.where(rows, point, 0.0)),
            "weight": weight,
        }
        return TaskOutput(loss, weight, sums, predictions)

    def truth(self, batch: Batch) -> Float[Array, "b 1"] | None:
        if self.target not in batch.targets:
            return None
        return (jnp.asarray(batch.targets[self.target])[:, 1:] > 0).astype(jnp.float32)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`accuracy` of each candidate alone, at a probability of one half, and `log_loss`."""
        weight = float(sums["weight"])
        names = {"accuracy": "correct", "log_loss": "loss"}
        return {
            name: float(sums[one]) / weight if weight else float("nan")
            for name, one in names.items()
        }

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """`mmjax.metrics.selection`: MRR, MAP, precision and nDCG over the questions."""
        target = targets[self.target]
        return selection(predictions["score"], target[:, 1], target[:, 0])

    def answers(self) -> Scores:
        return Scores()


def _listwise(
    logits: Float[Array, "b"], right: Bool[Array, "b"], groups: Array, rows: Bool[Array, "b"]
) -> Float[Array, "b"]:
    """Each list's loss, shared out among its candidates; 0 where all are right or none is."""
    same = (groups[:, None] == groups[None]) & rows[:, None] & rows[None]
    never = jnp.finfo(jnp.float32).min
    scores = jnp.broadcast_to(logits, same.shape)
    whole = jax.nn.logsumexp(jnp.where(same, scores, never), axis=1)
    good = same & right[None]
    mixed = good.any(axis=1) & (same & ~right[None]).any(axis=1)
    part = jax.nn.logsumexp(jnp.where(good, scores, never), axis=1)
    return jnp.where(mixed, whole - jnp.where(mixed, part, 0.0), 0.0)
