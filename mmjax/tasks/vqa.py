"""Questions about pictures (or sounds, or tables), answered out of a vocabulary."""

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
from mmjax.metrics.vqa import vqa_from_sums, vqa_sums
from mmjax.tasks.answers.classes import Choices
from mmjax.tasks.base import OutputKind, log_shares, unlabelled
from mmjax.tasks.heads import PooledTask, pooled_head
from mmjax.tasks.losses import require


class VQA(PooledTask, kw_only=True):
    """One answer of `num_answers`, learnt from what every annotator said.

    An answer's score is min(n / 3, 1), where n annotators gave it (1 for that of a single one).
    The loss is "binary": binary cross-entropy with the scores, summed over the answers (Teney et
    al. 2018, section 3.6), or "softmax": cross-entropy with the scores over their sum, in which a
    row without an answer of the vocabulary does not count. Predictions are `probabilities`
    `[b num_answers]`, float32: of each answer by itself, or over all. `top_k` answers are given.
    """

    target: str = "label"
    loss: Literal["binary", "softmax"] = "binary"
    top_k: int = 5
    num_answers: int = fact()
    answer_names: tuple[str, ...] = fact(())
    answer_counts: tuple[int, ...] = fact(())
    type_names: tuple[str, ...] = fact(())

    headline: ClassVar[tuple[str, ...]] = ("vqa_accuracy", "accuracy")

    @property
    def outputs_are(self) -> OutputKind:  # type: ignore[override]
        """Labels by themselves where the loss judges each answer by itself."""
        return "labels" if self.loss == "binary" else "classes"

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Float[Array, "b v"]:
        return pooled_head(self, fused, self.num_answers, train=train)

    def output(self, outputs: Float[Array, "b v"], batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of logits, wherever they came from."""
        logits = outputs.astype(jnp.float32)
        chances = jax.nn.sigmoid(logits) if self.loss == "binary" else jax.nn.softmax(logits)
        predictions = {"probabilities": chances}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        target = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        counts, annotators = self._counts(target)
        scores = _scores(counts, annotators)
        if self.loss == "binary":
            losses = jnp.sum(
                scores * jax.nn.softplus(-logits) + (1 - scores) * jax.nn.softplus(logits), axis=-1
            )
            weights = rows
        else:
            total = scores.sum(axis=-1)
            shares = scores / jnp.maximum(total, 1e-9)[:, None]
            losses = -jnp.sum(shares * jax.nn.log_softmax(logits), axis=-1)
            weights = rows * (total > 0)
        weight = weights.sum()
        loss = jnp.sum(jnp.where(weights > 0, losses, 0.0)) / jnp.maximum(weight, 1e-9)
        sums = vqa_sums(
            jnp.argmax(logits, axis=-1),
            counts,
            annotators,
            target[:, 1],
            target[:, 0],
            rows,
            num_types=len(self.type_names),
        )
        return TaskOutput(loss, weight, sums, predictions)

    def _counts(self, target: Array) -> tuple[Float[Array, "b v"], Float[Array, "b"]]:
        """How many annotators gave each answer, and how many there are."""
        given = target[:, 2:]
        said = (given[:, :, None] == jnp.arange(self.num_answers)).sum(axis=1, dtype=jnp.float32)
        # UNKNOWN is an annotator's answer, NOBODY (below it) is none.
        return said, (given >= -1).sum(axis=1, dtype=jnp.float32)

    def truth(self, batch: Batch) -> Float[Array, "b v"] | None:
        """The answers' scores, over their sum where the answers are classes."""
        if self.target not in batch.targets:
            return None
        scores = _scores(*self._counts(jnp.asarray(batch.targets[self.target])))
        if self.loss == "binary":
            return scores
        return scores / jnp.maximum(scores.sum(axis=-1, keepdims=True), 1e-9)

    def log_prior(self) -> Float[Array, "v"] | None:
        if not self.answer_counts or self.loss == "binary":
            return None
        return log_shares(self.answer_counts)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`mmjax.metrics.vqa.vqa_from_sums`: accuracies, of each type too, and their bound."""
        return vqa_from_sums(sums, self.type_names)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Nothing: every metric is one of sums."""
        return {}

    def answers(self) -> Choices:
        require("top_k", self.top_k >= 1, self.top_k, "1 or more")
        return Choices(self.answer_names or tuple(map(str, range(self.num_answers))), self.top_k)


def _scores(counts: Float[Array, "b v"], annotators: Float[Array, "b"]) -> Float[Array, "b v"]:
    """min(n / 3, 1), or over the number of annotators where there are fewer than three."""
    return jnp.minimum(counts / jnp.clip(annotators, 1.0, 3.0)[:, None], 1.0)
