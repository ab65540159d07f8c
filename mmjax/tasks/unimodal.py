"""Heads of single modalities beside a task's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Batch, Fused, TaskOutput, Tokens
from mmjax.core.typing import Array, Bool
from mmjax.fusion.base import present
from mmjax.tasks.heads import PooledTask


class UnimodalHeads(PooledTask, kw_only=True):
    """The task once more for some modalities, each on what its encoder made before the fusion.

    Every such head adds its loss, so many times as `heads` says, over the rows that have its
    modality: what keeps a modality that is learnt late from being left behind (MLF-DNN and Self-MM,
    Yu et al. 2020 and 2021). It learns the target that `labels` names for its modality, as CH-SIMS
    has them, or the task's own; Self-MM's own way of making such labels is not here. Metrics of the
    headline are told of each head (`text_mae`), predictions have its own (`text_values`), NaN where
    a row lacks the modality.

    A model of one modality has no further head, nor has one whose modalities decide by heads of
    their own (`decision`).
    """

    target: str = "label"
    heads: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By modality, the weight of its head's loss."""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """By modality, a target of its own. Of numbers it must be in the data's units
    (`scale="none"`)."""

    needs_tokens: ClassVar[bool] = True
    """That `__call__` also takes `tokens`."""

    def setup(self) -> None:
        self.of = {name: self.head_of(name) for name in self.heads}

    def head_of(self, name: str) -> UnimodalHeads:
        """The task that a modality has for itself, without parameters yet."""
        target = self.labels.get(name, self.target)
        return self.clone(parent=None, heads={}, labels={}, target=target)

    def __call__(
        self,
        fused: Fused,
        batch: Batch,
        *,
        tokens: Mapping[str, Tokens] | None = None,
        train: bool,
    ) -> TaskOutput:
        whole = super().__call__(fused, batch, train=train)
        if not self.heads or tokens is None or len(tokens) < 2:
            return whole
        self._check(tokens)
        loss, metrics, predictions = whole.loss, dict(whole.metrics), dict(whole.predictions)
        for name in sorted(self.heads):
            own, here = tokens[name], present(tokens[name])
            alone = Fused(own.values, own.mask, own.pooled, {name: (0, own.values.shape[1])})
            rows = dataclasses.replace(batch, row_mask=jnp.asarray(batch.row_mask) & here)
            found = self.of[name](alone, rows, train=train)
            if train:
                share = found.weight / jnp.maximum(whole.weight, 1e-9)
                loss = loss + self.heads[name] * share * found.loss
            metrics |= {f"{name}/{key}": value for key, value in found.metrics.items()}
            predictions |= {
                f"{name}_{key}": _where(here, value) for key, value in found.predictions.items()
            }
        return dataclasses.replace(whole, loss=loss, metrics=metrics, predictions=predictions)

    def _check(self, tokens: Mapping[str, Any]) -> None:
        for setting in ("heads", "labels"):
            for name in getattr(self, setting):
                known = tokens if setting == "heads" else self.heads
                if name not in known:
                    raise ConfigError(
                        109,
                        f"{setting} name '{name}', which is no "
                        + ("modality of the model" if setting == "heads" else "head"),
                        where=f"task.{setting}",
                        fix=nearest(name, known),
                    )


def _where(here: Bool[Array, "b"], values: Array) -> Array:
    shape = (-1, *[1] * (values.ndim - 1))
    return jnp.where(here.reshape(shape), values, jnp.nan)
