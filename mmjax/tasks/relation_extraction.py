"""What two parts of a text are to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Dtype, Float
from mmjax.metrics.label_sums import multi_label_from_sums, multi_label_sums
from mmjax.metrics.multi_label import multi_label
from mmjax.metrics.relations import relation_sums, relations, relations_from_sums
from mmjax.tasks.answers.parts import Relations
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.losses import binary_cross_entropy, cross_entropy, require
from mmjax.tasks.pairs import Outputs, Pool, of_parts, pair_logits, pair_parameters
from mmjax.tasks.spans import offsets_of, tokens_of


class RelationExtraction(Task, kw_only=True):
    """The relation of two marked entities of a text, a `head` and a `tail`.

    Each entity is the mean of its tokens of the modality `text`, or the first of them (Soares et
    al. 2019); both, and `Fused.pooled`, which tells of the other modalities, go through one hidden
    layer. The entities are given by a modality of kind marks, `marks`, with two names; the text
    must be read with `offsets=True`; with `marks` there too, entities have markers around them, of
    which pool="first" takes the one before. An entity without tokens, in a text that is missing or
    cut, counts as nothing, and the row is judged by the rest.

    The target is a category, one of whose names may be `null`, "no relation", which no F1 counts;
    or with `multi_label` a set of labels, none or several a pair. The loss is the mean
    cross-entropy, or the mean over labels of the binary one. Predictions are `probabilities`
    `[b v]`, and `marks` `[b 2 2]` as they were given.
    """

    target: str = "label"
    text: str = "text"
    marks: str = "marks"
    pool: Pool = "mean"
    multi_label: bool = False
    null: str | None = None
    """The name of the class that means none; a target without it is all relations."""
    hidden: int = 128
    dropout: float = 0.0
    label_smoothing: float = 0.0
    threshold: float = 0.5
    """With `multi_label`, the least probability of a relation that is said to be there."""
    num_labels: int = fact()
    label_names: tuple[str, ...] = fact(())
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Outputs:  # type: ignore[override]
        """The parts of a pair head, and the `mask` of the text's tokens."""
        require("hidden", self.hidden > 0, self.hidden, "1 or more")
        _ = self.null_index
        values, mask = tokens_of(fused, self.text)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        parts = pair_parameters(
            self,
            drop(values),
            drop(fused.pooled),
            names=("head", "tail"),
            hidden=self.hidden,
            labels=self.num_labels,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        return {**parts, "mask": mask}

    @property
    def names(self) -> tuple[str, ...]:
        """What the relations are called, by their numbers if they have no names."""
        return self.label_names or tuple(map(str, range(self.num_labels)))

    @property
    def null_index(self) -> int | None:
        """The class that means none. Raises ConfigError for a name that the target has not."""
        if self.null is None:
            return None
        if self.multi_label or self.null not in self.names:
            raise ConfigError(
                109,
                f"null = '{self.null}'" + (" with multi_label" if self.multi_label else ""),
                where="task.null",
                fix="several labels need none"
                if self.multi_label
                else nearest(self.null, self.names),
            )
        return self.names.index(self.null)

    def _logits(self, outputs: Outputs, batch: Batch, marks: Array) -> Float[Array, "b v"]:
        offsets = offsets_of(batch, self.text, outputs["mask"].shape[1])
        ends = [
            of_parts(outputs[name], offsets, outputs["mask"], marks[:, i : i + 1], self.pool)
            for i, name in enumerate(("head", "tail"))
        ]
        return pair_logits(outputs, ends[0], ends[1])[:, 0, 0]

    def output(self, outputs: Outputs, batch: Batch) -> TaskOutput:  # type: ignore[override]
        fields = batch.inputs.get(self.marks, {})
        if "marks" not in fields or fields["marks"].shape[1] != 2:
            raise ConfigError(
                109,
                f"the modality '{self.marks}' marks no two parts of the text",
                where=f"data.modalities.{self.marks}",
                fix="give one of kind marks with the names head and tail",
            )
        marks = jnp.asarray(fields["marks"])
        logits = self._logits(outputs, batch, marks)
        probabilities = jax.nn.sigmoid(logits) if self.multi_label else jax.nn.softmax(logits)
        predictions = {"probabilities": probabilities, "marks": marks}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        truth = jnp.asarray(batch.targets[self.target])
        smoothing = self.label_smoothing
        if self.multi_label:
            labels = jnp.where(rows[:, None] > 0, truth, False)
            losses = binary_cross_entropy(logits, labels, label_smoothing=smoothing).mean(axis=-1)
            edge = float(np.log(self.threshold) - np.log1p(-self.threshold))
            sums = multi_label_sums(logits - edge, labels, rows)
        else:
            classes = jnp.where(rows > 0, truth, 0)
            losses = cross_entropy(logits, classes, label_smoothing=smoothing)
            sums = relation_sums(logits, classes, rows)
        weight = rows.sum()
        loss = jnp.sum(losses * rows) / jnp.maximum(weight, 1e-9)
        return TaskOutput(loss, weight, sums, predictions)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """F1 and the rest, from metrics summed over batches."""
        if self.multi_label:
            found = multi_label_from_sums(sums, self.names)
            # Its logits are moved by the threshold.
            return {name: value for name, value in found.items() if name != "log_loss"}
        return relations_from_sums(sums, self.names, self.null_index)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """`mmjax.metrics.relations`, or `mmjax.metrics.multi_label` of several labels."""
        shares, truth = predictions["probabilities"], targets[self.target]
        if self.multi_label:
            return multi_label(shares, truth, thresholds=self.threshold, label_names=self.names)
        said = np.asarray(shares).argmax(axis=-1)
        return relations(said, truth, label_names=self.names, null=self.null_index)

    def answers(self) -> Relations:
        return Relations(self.text, self.names, self.multi_label, self.threshold)
