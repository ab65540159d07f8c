"""Multimodal sentiment: a score from -3 to 3, or classes, with heads of single modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Float
from mmjax.data.numbers import parse_number
from mmjax.metrics.sentiment import sentiment, sentiment_from_sums, sentiment_sums
from mmjax.tasks.answers.classes import ValuedClasses
from mmjax.tasks.answers.numbers import LABELS, SentimentScores
from mmjax.tasks.base import OutputKind, unlabelled
from mmjax.tasks.classification import Classification
from mmjax.tasks.heads import pooled_head
from mmjax.tasks.losses import require
from mmjax.tasks.regression import huber
from mmjax.tasks.unimodal import UnimodalHeads

_VALENCES = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}


class Sentiment(UnimodalHeads, kw_only=True):
    """How positive an utterance is, from -3 to 3.

    The target is a `number`, scaled or not; metrics are those of `mmjax.metrics.sentiment` in the
    data's units. The loss is a mean over rows, in the batch's units, of the absolute error, which
    MulT and Self-MM have, the squared one, or Huber's. A target that is NaN counts nowhere.
    Predictions are `values` `[b 1]`, float32, in the batch's units, and those of `heads`.

    `decode` gives `score`, cut to [-3, 3], and `label`: neutral up to `neutral` either way, which
    is by default what is rounded to 0.
    """

    loss: Literal["mae", "mse", "huber"] = "mae"
    delta: float = 1.0
    neutral: float = 0.5
    num_targets: int = fact(1)
    target_names: tuple[str, ...] = fact(())
    target_means: tuple[float, ...] = fact(())
    target_deviations: tuple[float, ...] = fact(())

    outputs_are: ClassVar[OutputKind | None] = "values"
    headline: ClassVar[tuple[str, ...]] = ("mae", "corr", "acc2_non0", "acc7")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Float[Array, "b 1"]:
        require("target", self.num_targets == 1, self.target, "one number a row")
        require("neutral", self.neutral >= 0, self.neutral, "0 or more")
        return pooled_head(self, fused, 1, train=train)

    def output(self, outputs: Float[Array, "b 1"], batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of scores, wherever they came from."""
        values = outputs.astype(jnp.float32)
        predictions = {"values": values}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        targets = jnp.asarray(batch.targets[self.target], jnp.float32)
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        known = rows[:, None] * ~jnp.isnan(targets)
        losses = self._losses(values - jnp.where(known > 0, targets, 0.0))
        weight = known.sum()
        loss = jnp.sum(jnp.where(known > 0, losses, 0.0)) / jnp.maximum(weight, 1e-9)
        mean, deviation = self._scale()
        sums = sentiment_sums(
            (mean + deviation * values)[:, 0], (mean + deviation * targets)[:, 0], rows
        )
        return TaskOutput(loss, weight, sums, predictions)

    def _losses(self, error: Float[Array, "b 1"]) -> Float[Array, "b 1"]:
        if self.loss == "mse":
            return error**2
        if self.loss == "mae":
            return jnp.abs(error)
        require("delta", self.delta > 0, self.delta, "above 0")
        return huber(error, self.delta)

    def _scale(self) -> tuple[float, float]:
        if not self.target_means:
            return 0.0, 1.0
        return self.target_means[0], self.target_deviations[0]

    def head_of(self, name: str) -> Sentiment:
        """As of any task; what is known of the scale is that of the task's own target."""
        own = super().head_of(name)
        if name in self.labels:
            own = own.clone(parent=None, target_means=(), target_deviations=())
        assert isinstance(own, Sentiment)
        return own

    def truth(self, batch: Batch) -> Float[Array, "b 1"] | None:
        """The targets; one that is not known is taken to be the mean."""
        if self.target not in batch.targets:
            return None
        return jnp.nan_to_num(jnp.asarray(batch.targets[self.target]))

    def in_units(self, values: np.ndarray) -> np.ndarray:
        """Numbers `[n 1]` of batches or predictions in the data's units, float64."""
        mean, deviation = self._scale()
        return mean + deviation * np.asarray(values, np.float64)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """Every metric of `mmjax.metrics.sentiment`, from sums over batches."""
        return sentiment_from_sums(sums)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """The same, in float64."""
        return sentiment(self.in_units(predictions["values"]), self.in_units(targets[self.target]))

    def answers(self) -> SentimentScores:
        scales = {name: self.head_of(name)._scale() for name in self.heads}
        return SentimentScores(self.neutral, *self._scale(), scales)


class SentimentClasses(UnimodalHeads, Classification, kw_only=True):
    """Sentiment as classes: `classification` with the heads and the metrics of sentiment.

    Classes are called negative, neutral and positive, or by numbers ("-3" to "3"). A row's `score`
    is the mean of theirs, -1, 0 and 1 or the numbers, weighted by the probabilities; of three
    classes its sign is that of positive against negative, as MMSA tells the two apart. The two-way
    metrics (`acc2_has0`, ...) are of this score, with classes of numbers all of them.
    """

    headline: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "acc2_non0")

    def valences(self) -> np.ndarray:
        """What each class stands for. Raises ConfigError for names that say nothing of it."""
        found = []
        for name in self.label_names:
            number = _VALENCES.get(name.casefold(), parse_number(name))
            if number is None:
                raise ConfigError(
                    109,
                    f"a class of sentiment is called '{name}'",
                    where="data.targets",
                    fix=f"{', '.join(LABELS)}, or numbers; task=classification takes any names",
                )
            found.append(number)
        return np.array(found)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Those of classes, and of the scores."""
        valences = self.valences()
        scores = np.asarray(predictions["probabilities"], np.float64) @ valences
        found = sentiment(scores, valences[np.asarray(targets[self.target])])
        named = set(map(str.casefold, self.label_names)) <= set(LABELS)
        more = {k: v for k, v in found.items() if not named or k.startswith(("acc2_", "f1_"))}
        return super().evaluate(predictions, targets) | more

    def answers(self) -> ValuedClasses:
        return ValuedClasses(super().answers().names, tuple(self.valences().tolist()))
