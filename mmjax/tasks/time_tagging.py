"""What happens when: a label, or several, for each step of a video, a sound or a stream."""

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
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.metrics.scores import average_precision
from mmjax.metrics.segments import Segment, event_f1, label_segments, segments
from mmjax.nn.dense import ACTIVATIONS, Activation, dense
from mmjax.tasks.answers.segments import Segments
from mmjax.tasks.base import Task, unlabelled
from mmjax.tasks.losses import binary_cross_entropy, cross_entropy, require
from mmjax.tasks.spans import summarised
from mmjax.tasks.steps import labels_at, seconds_of, to_steps

Outputs = Mapping[str, Array]

_FURTHEST = 4.0
"""What a step's log-probability may differ by from that of the step before, as MS-TCN has it."""


class TimeTagging(Task, kw_only=True):
    """The label of each step in time of the modality `modality`, or with `labels="several"` all of
    its labels.

    A dense layer, with `hidden` an MLP, reads the tokens of each step and, added to them,
    `Fused.pooled`, which tells of the other modalities. A step is a token, or with
    `tokens_per_step` the mean of so many, such as the patches of a frame. Its truth is what the
    target's segments say of the middle of the step; what no segment covers is "nothing", which with
    one label a step is a class of its own, the first. The modality must say when its tokens are:
    `seconds=True` of a video or sound, `step_seconds` of a sequence.

    The loss is the mean cross-entropy over steps that are there, of several labels the binary one.
    `smoothing` adds so much of the squared difference between the log-probabilities of neighbouring
    steps, cut at 4 (Farha and Gall 2019, equations 9 to 12).

    Predictions are `probabilities` `[b s c]`, `seconds` `[b s 2]` and `mask` `[b s]`; `most` pads
    them to so many steps, which a modality with several `lengths` needs. Segments are runs of steps
    of one label (of several: from `threshold` on) that last `shortest` seconds or more.
    """

    target: str = "segments"
    modality: str = "video"
    labels: Literal["one", "several"] = "one"
    tokens_per_step: int = 1
    most: int = 0
    smoothing: float = 0.0
    label_smoothing: float = 0.0
    threshold: float = 0.5
    shortest: float = 0.0
    dropout: float = 0.0
    hidden: int = 0
    activation: Activation = "gelu"
    segment_names: tuple[str, ...] = fact(())
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    headline: ClassVar[tuple[str, ...]] = ("accuracy", "f1@50")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Outputs:  # type: ignore[override]
        """`logits` of each step and their `mask`."""
        if not self.segment_names:
            raise ConfigError(
                109,
                f"the target '{self.target}' has no names of segments",
                where=f"data.targets.{self.target}",
                fix="give a target of kind segments",
            )
        require("tokens_per_step", self.tokens_per_step > 0, self.tokens_per_step, "1 or more")
        require("smoothing", self.smoothing >= 0, self.smoothing, "0 or more")
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        tokens, mask = summarised(fused, self.modality, dropout=self.dropout, train=train)
        seen, mask = to_steps(tokens, mask, self.tokens_per_step)
        if self.hidden:
            seen = dense(self.hidden, ("embed", "mlp"), name="hidden", **types)(seen)
            seen = ACTIVATIONS[self.activation](seen)
        count = len(self.segment_names) + self._nothing
        axes = ("mlp" if self.hidden else "embed", "labels")
        return {"logits": dense(count, axes, name="head", **types)(seen), "mask": mask}

    @property
    def _nothing(self) -> int:
        """How many classes stand before the names."""
        return int(self.labels == "one")

    def output(self, outputs: Outputs, batch: Batch) -> TaskOutput:  # type: ignore[override]
        logits, mask = outputs["logits"].astype(jnp.float32), outputs["mask"]
        seconds = seconds_of(batch, self.modality, mask.shape[1])
        one = self.labels == "one"
        chances = jax.nn.softmax(logits) if one else jax.nn.sigmoid(logits)
        predictions = self._padded({"probabilities": chances, "seconds": seconds, "mask": mask})
        if self.target not in batch.targets:
            return unlabelled(predictions)
        there = labels_at(seconds, batch.targets[self.target], len(self.segment_names))
        counted = (mask & jnp.asarray(batch.row_mask)[:, None]).astype(jnp.float32)
        steps = logits.reshape(-1, logits.shape[-1])
        smoothing = self.label_smoothing
        if one:
            truth = _one_label(there)
            losses = cross_entropy(steps, truth.reshape(-1), label_smoothing=smoothing)
            right = logits.argmax(axis=-1) == truth
        else:
            each = there.reshape(steps.shape)
            losses = binary_cross_entropy(steps, each, label_smoothing=smoothing).mean(axis=-1)
            right = jnp.all((chances >= self.threshold) == there, axis=-1)
        losses = losses.reshape(mask.shape)
        weight = counted.sum()
        plain = jnp.sum(losses * counted)
        total = plain
        if self.smoothing:
            total = plain + self.smoothing * self._jumps(logits, counted)
        sums = {"right": jnp.sum(counted * right), "steps": weight, "loss": plain}
        return TaskOutput(total / jnp.maximum(weight, 1e-9), weight, sums, predictions)

    def _jumps(self, logits: Float[Array, "b s c"], counted: Float[Array, "b s"]) -> Array:
        """The summed squared steps of the log-probabilities, whose past is held still."""
        logs = jax.nn.log_softmax(logits) if self._nothing else jax.nn.log_sigmoid(logits)
        apart = logs[:, 1:] - jax.lax.stop_gradient(logs[:, :-1])
        cut = jnp.square(jnp.clip(apart, -_FURTHEST, _FURTHEST)).mean(axis=-1)
        return jnp.sum(cut * counted[:, 1:] * counted[:, :-1])

    def _padded(self, predictions: dict[str, Array]) -> dict[str, Array]:
        steps = predictions["mask"].shape[1]
        if not self.most:
            return predictions
        require("most", self.most >= steps, self.most, f"{steps} or more, the steps of a row")
        room = ((0, 0), (0, self.most - steps))
        return {k: jnp.pad(v, room + ((0, 0),) * (v.ndim - 2)) for k, v in predictions.items()}

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`accuracy`, the share of steps that are right in all their labels, and `log_loss`."""
        steps = float(sums["steps"])
        shares = {"accuracy": "right", "log_loss": "loss"}
        return {k: float(sums[v]) / steps if steps else float("nan") for k, v in shares.items()}

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """`edit` and `f1@10` to `f1@50` of `mmjax.metrics.segments` (with several labels a step no
        `edit`), `event_f1` of segments in seconds, and over steps `map` and `ap/<name>`.
        """
        given = np.asarray(targets[self.target])
        seconds, mask = np.asarray(predictions["seconds"]), np.asarray(predictions["mask"])
        chances = np.asarray(predictions["probabilities"], np.float64)
        there = np.asarray(labels_at(seconds, given, len(self.segment_names)))
        rows = range(len(mask))
        if self.labels == "one":
            labels, best = np.asarray(_one_label(there)), chances.argmax(axis=-1)
            found = segments(
                [labels[row][mask[row]] for row in rows],
                [best[row][mask[row]] for row in rows],
                background=0,
            )
            found.pop("accuracy")
        else:
            said = chances >= self.threshold
            found = label_segments(
                [there[row][mask[row]] for row in rows], [said[row][mask[row]] for row in rows]
            )
        own = chances[mask][:, self._nothing :]
        precisions = [average_precision(own[:, v], there[mask][:, v]) for v in range(own.shape[1])]
        known = [value for value in precisions if value == value]
        events = [[Segment(a, b, int(v)) for a, b, v in row if v >= 0] for row in given.tolist()]
        return {
            **found,
            "event_f1": event_f1(
                events, [[s for s, _ in row] for row in self.answers().found(predictions)]
            ),
            "map": float(np.mean(known)) if known else float("nan"),
            **{f"ap/{n}": p for n, p in zip(self.segment_names, precisions, strict=True)},
        }

    def answers(self) -> Segments:
        return Segments(self.segment_names, self.labels, self.threshold, self.shortest)


def _one_label(there: Bool[ArrayLike, "b s v"]) -> Int[Array, "b s"]:
    """The first label that a step has, counted from 1; 0 for none."""
    there = jnp.asarray(there)
    return jnp.where(there.any(axis=-1), 1 + jnp.argmax(there, axis=-1), 0)
