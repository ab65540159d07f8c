"""Multi-label classification: any number of labels a row."""

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
from mmjax.metrics.label_sums import multi_label_from_sums, multi_label_sums
from mmjax.metrics.multi_label import multi_label
from mmjax.metrics.thresholds import best_thresholds
from mmjax.tasks.answers.classes import Labels
from mmjax.tasks.base import OutputKind, unlabelled
from mmjax.tasks.heads import PooledTask, pooled_head
from mmjax.tasks.losses import asymmetric, binary_cross_entropy, binary_focal, require


class MultiLabel(PooledTask, kw_only=True):
    """Any of `num_labels` labels, each a yes or no of its own.

    The loss is a mean over rows and labels: binary cross-entropy, where `pos_weight` multiplies
    what is yes ("balanced": rows without the label over rows with it), the focal loss of `gamma`
    and `alpha`, or the asymmetric one of `gammas` (of yes and of no) and `margin`. Predictions are
    `probabilities` `[b num_labels]`, float32. A label is given from its threshold on: 0.5 in
    training; after it `tune` chooses, on the validation rows, the one of the highest F1 for each
    label, or, "shared", of the highest micro F1 for all.
    """

    target: str = "label"
    loss: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy"
    gamma: float = 2.0
    alpha: float | None = None
    gammas: tuple[float, float] = (0.0, 4.0)
    margin: float = 0.05
    pos_weight: Literal["none", "balanced"] | tuple[float, ...] = "none"
    label_smoothing: float = 0.0
    tuned_thresholds: Literal["per_label", "shared", "none"] = "per_label"
    num_labels: int = fact()
    label_names: tuple[str, ...] = fact(())
    label_counts: tuple[int, ...] = fact(())
    label_rows: int = fact(0)
    thresholds: tuple[float, ...] = fact(())
    """Those that `tune` chose."""

    outputs_are: ClassVar[OutputKind | None] = "labels"
    headline: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Float[Array, "b v"]:
        return pooled_head(self, fused, self.num_labels, train=train)

    def output(self, outputs: Float[Array, "b v"], batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of logits, wherever they came from."""
        logits = outputs.astype(jnp.float32)
        predictions = {"probabilities": jax.nn.sigmoid(logits)}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        labels = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        losses = self._losses(logits, labels).mean(axis=-1)
        weight = rows.sum()
        loss = jnp.sum(losses * rows) / jnp.maximum(weight, 1e-9)
        return TaskOutput(loss, weight, multi_label_sums(logits, labels, rows), predictions)

    def _losses(
        self, logits: Float[Array, "b v"], labels: Bool[Array, "b v"]
    ) -> Float[Array, "b v"]:
        smoothing = self.label_smoothing
        if self.loss == "focal":
            require("gamma", self.gamma >= 0, self.gamma, "0 or more")
            alpha = self.alpha
            require("alpha", alpha is None or 0 <= alpha <= 1, alpha, "0 to 1, or none")
            return binary_focal(
                logits, labels, gamma=self.gamma, alpha=alpha, label_smoothing=smoothing
            )
        if self.loss == "asymmetric":
            require("gammas", min(self.gammas) >= 0, self.gammas, "0 or more")
            require("margin", 0 <= self.margin < 1, self.margin, "0 to below 1")
            return asymmetric(
                logits, labels, gammas=self.gammas, margin=self.margin, label_smoothing=smoothing
            )
        weights = jnp.asarray(self._weights(), jnp.float32)
        return binary_cross_entropy(logits, labels, label_smoothing=smoothing, pos_weight=weights)

    def _weights(self) -> np.ndarray:
        if self.pos_weight == "none" or (self.pos_weight == "balanced" and not self.label_rows):
            return np.ones(self.num_labels)
        if self.pos_weight == "balanced":
            having = np.maximum(np.asarray(self.label_counts, np.float64), 1.0)
            return np.maximum(self.label_rows - having, 1.0) / having
        if len(self.pos_weight) != self.num_labels:
            raise ConfigError(
                109,
                f"{len(self.pos_weight)} weights for {self.num_labels} labels",
                where="task.pos_weight",
                fix="one weight a label in the order of the label names, or 'balanced'",
            )
        return np.asarray(self.pos_weight, np.float64)

    def truth(self, batch: Batch) -> Float[Array, "b v"] | None:
        if self.target not in batch.targets:
            return None
        return jnp.asarray(batch.targets[self.target]).astype(jnp.float32)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """F1 and the rest at the threshold 0.5, from metrics summed over batches."""
        return multi_label_from_sums(sums, self.label_names)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Every metric of `mmjax.metrics.multi_label` over all rows, at the task's thresholds."""
        cuts = self.cuts()
        names = self.label_names or tuple(map(str, range(self.num_labels)))
        found = multi_label(
            predictions["probabilities"],
            targets[self.target],
            thresholds=cuts,
            label_names=self.label_names,
        )
        return found | {f"threshold/{name}": float(c) for name, c in zip(names, cuts, strict=True)}

    def tune(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, Any]:
        """The thresholds that are best on these rows, as a fact to build the task with."""
        if self.tuned_thresholds == "none":
            return {}
        cuts = best_thresholds(
            predictions["probabilities"],
            targets[self.target],
            shared=self.tuned_thresholds == "shared",
        )
        return {"thresholds": cuts.tolist()}

    def answers(self) -> Labels:
        names = self.label_names or tuple(map(str, range(self.num_labels)))
        return Labels(names, tuple(self.cuts().tolist()))

    def cuts(self) -> Float[np.ndarray, "v"]:
        """The threshold of each label."""
        return np.asarray(self.thresholds or (0.5,) * self.num_labels, np.float64)
