"""Single-label classification, of two classes or more."""

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
from mmjax.core.typing import Array, Float
from mmjax.metrics.single_label import classification
from mmjax.metrics.sums import classification_from_sums, classification_sums
from mmjax.tasks.answers.classes import Classes
from mmjax.tasks.base import OutputKind, log_shares, unlabelled
from mmjax.tasks.heads import PooledTask, pooled_head
from mmjax.tasks.losses import balanced_weights, cross_entropy, effective_weights, require

ClassWeights = Literal["none", "balanced", "effective"] | tuple[float, ...]


def class_weights(
    scheme: ClassWeights, counts: tuple[int, ...], *, beta: float = 0.999
) -> np.ndarray:
    """One weight a class: given ones, or by how many training rows each class has."""
    if scheme == "none":
        return np.ones(len(counts), np.float32)
    if scheme == "balanced":
        return balanced_weights(counts).astype(np.float32)
    if scheme == "effective":
        return effective_weights(counts, beta).astype(np.float32)
    if len(scheme) != len(counts):
        raise ConfigError(
            109,
            f"{len(scheme)} class weights for {len(counts)} labels",
            where="task.class_weights",
            fix="one weight a label in the order of the label names, or 'balanced'",
        )
    return np.asarray(scheme, np.float32)


class Classification(PooledTask, kw_only=True):
    """One label of `num_labels`.

    The loss is the mean cross-entropy, or focal loss of `gamma`, under the class weights:
    "balanced" ones, or by the "effective" number of rows at `beta` (Cui et al. 2019). Predictions
    are `probabilities` `[b num_labels]`, float32. Of two classes, the second is the one that
    precision, recall and average precision are told of.
    """

    target: str = "label"
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    gamma: float = 2.0
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    beta: float = 0.999
    num_labels: int = fact()
    label_names: tuple[str, ...] = fact(())
    label_counts: tuple[int, ...] = fact(())

    outputs_are: ClassVar[OutputKind | None] = "classes"
    headline: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Float[Array, "b v"]:
        return pooled_head(self, fused, self.num_labels, train=train)

    def output(self, outputs: Float[Array, "b v"], batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of logits, wherever they came from."""
        logits = outputs.astype(jnp.float32)
        predictions = {"probabilities": jax.nn.softmax(logits)}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        labels = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        labels = jnp.where(rows > 0, labels, 0)
        counts = self.label_counts or (1,) * self.num_labels
        of_class = class_weights(self.class_weights, counts, beta=self.beta)
        weights = rows * jnp.asarray(of_class)[labels]
        require("gamma", self.gamma >= 0, self.gamma, "0 or more")
        gamma = self.gamma if self.loss == "focal" else 0.0
        losses = cross_entropy(logits, labels, label_smoothing=self.label_smoothing, gamma=gamma)
        weight = weights.sum()
        loss = jnp.sum(losses * weights) / jnp.maximum(weight, 1e-9)
        sums = classification_sums(logits, labels, rows)
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
        """Accuracy, F1 and the rest, from metrics summed over batches."""
        return classification_from_sums(sums, self.label_names)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Every metric of `mmjax.metrics.classification` over all rows."""
        return classification(
            predictions["probabilities"], targets[self.target], label_names=self.label_names
        )

    def answers(self) -> Classes:
        return Classes(self.label_names or tuple(map(str, range(self.num_labels))))
