"""Regression: one number or several, or quantiles of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput
from mmjax.core.typing import Array, Float
from mmjax.metrics.number_sums import regression_from_sums, regression_sums
from mmjax.metrics.regression import quantile_regression, regression
from mmjax.tasks.answers.numbers import Numbers
from mmjax.tasks.base import OutputKind, unlabelled
from mmjax.tasks.heads import PooledTask, pooled_head
from mmjax.tasks.losses import require


def huber(error: Float[Array, "..."], delta: float) -> Float[Array, "..."]:
    """e^2 / 2 up to `delta`, and delta (|e| - delta / 2) beyond (Huber 1964)."""
    size = jnp.abs(error)
    inner = jnp.minimum(size, delta)
    return inner * (size - inner / 2)


def pinball(
    quantile_values: Float[Array, "... q"], targets: Float[Array, "..."], quantiles: Sequence[float]
) -> Float[Array, "... q"]:
    """max(q e, (q - 1) e) of the error e = target - value (Koenker and Bassett 1978)."""
    levels = jnp.asarray(quantiles, jnp.float32)
    error = targets[..., None] - quantile_values
    return jnp.maximum(levels * error, (levels - 1) * error)


class Regression(PooledTask, kw_only=True):
    """`num_targets` numbers.

    Within the model they are as the batch holds them, with mean 0 and deviation 1 unless the target
    says otherwise; losses, and Huber's `delta`, are in these units. The loss is a mean over rows
    and targets, of the squared error, the absolute one, Huber's, or the pinball loss of
    `quantiles`, of which the median, or the one nearest to it, is the prediction. Quantiles cannot
    cross: each is the one below it plus a softplus; they may with `crossing="allowed"`, and are
    sorted by "sorted" (Chernozhukov et al. 2010). A target that is NaN counts nowhere.

    Predictions are `values` `[b t]` and `quantiles` `[b t q]`, float32, in the batch's units;
    `in_units` brings them to those of the data, as metrics and `decode` do.
    """

    target: str = "label"
    loss: Literal["mse", "mae", "huber", "quantile"] = "mse"
    delta: float = 1.0
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    crossing: Literal["none", "sorted", "allowed"] = "none"
    num_targets: int = fact(1)
    target_names: tuple[str, ...] = fact(())
    target_means: tuple[float, ...] = fact(())
    target_deviations: tuple[float, ...] = fact(())

    outputs_are: ClassVar[OutputKind | None] = "values"
    headline: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2")

    @nn.compact
    def head_outputs(self, fused: Fused, *, train: bool) -> Float[Array, "b outputs"]:
        if self.loss != "quantile":
            return pooled_head(self, fused, self.num_targets, train=train)
        levels = self._levels()
        outputs = pooled_head(self, fused, self.num_targets * len(levels), train=train)
        each = outputs.astype(jnp.float32).reshape(len(outputs), self.num_targets, len(levels))
        if self.crossing == "none":
            steps = jnp.concatenate([each[..., :1], jax.nn.softplus(each[..., 1:])], axis=-1)
            # Not `jnp.cumsum`: compiled for a CPU (jaxlib 0.10.2) the gradient of one entry of it,
            # taken by `jnp.take_along_axis`, is wrong.
            upto = jnp.triu(jnp.ones((len(levels), len(levels)), jnp.float32))
            each = jnp.matmul(steps, upto, precision="highest")
        return each.reshape(outputs.shape)

    def _levels(self) -> tuple[float, ...]:
        levels = self.quantiles
        ascending = all(a < b for a, b in itertools.pairwise(levels))
        inside = bool(levels) and levels[0] > 0 and levels[-1] < 1
        require("quantiles", ascending and inside, levels, "ascending numbers between 0 and 1")
        return levels

    def output(self, outputs: Float[Array, "b outputs"], batch: Batch) -> TaskOutput:
        """Loss, sums and predictions of the head's numbers, wherever they came from."""
        found = outputs.astype(jnp.float32)
        each: Array | None = None
        predictions = {"values": found}
        if self.loss == "quantile":
            levels = self._levels()
            each = found.reshape(len(found), self.num_targets, len(levels))
            if self.crossing == "sorted":
                each = jnp.sort(each, axis=-1)
            middle = int(np.argmin(np.abs(np.asarray(levels) - 0.5)))
            predictions = {"values": each[..., middle], "quantiles": each}
        if self.target not in batch.targets:
            return unlabelled(predictions)
        targets = jnp.asarray(batch.targets[self.target])
        rows = jnp.asarray(batch.row_mask).astype(jnp.float32)
        known = rows[:, None] * ~jnp.isnan(targets)
        losses = self._losses(predictions["values"], each, jnp.where(known > 0, targets, 0.0))
        weight = known.sum()
        loss = jnp.sum(jnp.where(known > 0, losses, 0.0)) / jnp.maximum(weight, 1e-9)
        sums = regression_sums(
            predictions["values"],
            targets,
            rows,
            quantile_predictions=each,
            quantiles=self.quantiles,
        )
        return TaskOutput(loss, weight, sums, predictions)

    def _losses(
        self, values: Float[Array, "b t"], each: Array | None, targets: Float[Array, "b t"]
    ) -> Float[Array, "b t"]:
        if each is not None:
            return pinball(each, targets, self.quantiles).mean(axis=-1)
        error = values - targets
        if self.loss == "mse":
            return error**2
        if self.loss == "mae":
            return jnp.abs(error)
        require("delta", self.delta > 0, self.delta, "above 0")
        return huber(error, self.delta)

    def truth(self, batch: Batch) -> Float[Array, "b outputs"] | None:
        """The targets, once for each quantile; one that is not known is taken to be the mean."""
        if self.target not in batch.targets:
            return None
        known = jnp.nan_to_num(jnp.asarray(batch.targets[self.target]))
        return jnp.repeat(known, len(self.quantiles) if self.loss == "quantile" else 1, axis=-1)

    def in_units(self, values: np.ndarray) -> np.ndarray:
        """Numbers `[n t]` or `[n t q]` of batches or predictions in the data's units, float64."""
        return self.answers().in_units(values)

    def _deviations(self) -> np.ndarray:
        return np.asarray(self.target_deviations or (1.0,) * self.num_targets)

    def compute_own(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """Errors in the data's units, from metrics summed over batches."""
        deviations = self._deviations().tolist()
        return regression_from_sums(sums, names=self.target_names, deviations=deviations)

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Every metric of `mmjax.metrics.regression`, and of quantiles, in the data's units."""
        truth = self.in_units(targets[self.target])
        names = self.target_names
        found = regression(self.in_units(predictions["values"]), truth, names=names)
        if "quantiles" in predictions:
            each = self.in_units(predictions["quantiles"])
            found |= quantile_regression(each, truth, self.quantiles, names=names)
        return found

    def answers(self) -> Numbers:
        return Numbers(
            names=self.target_names or tuple(map(str, range(self.num_targets))),
            means=self.target_means or (0.0,) * self.num_targets,
            deviations=self.target_deviations or (1.0,) * self.num_targets,
            quantiles=self.quantiles,
        )
