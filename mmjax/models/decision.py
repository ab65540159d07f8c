"""The decision-level assembly: a head for each modality, and one decision of them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec, fact
from mmjax.core.types import Batch, Fused, TaskOutput, Tokens
from mmjax.core.typing import Array, Dtype, Float
from mmjax.fusion.base import assemble, by_name, present, project
from mmjax.models import CombinationSpec, combinations
from mmjax.models.base import Assembly, relative_loss, rows_of
from mmjax.models.combining import Combined, Heads
from mmjax.tasks.base import OutputKind


class Own(nn.Module, kw_only=True):
    """The tokens of one modality as `Fused`, projected where there is a `width`."""

    width: int | None
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(self, name: str, tokens: Tokens) -> Fused:
        alone = {name: tokens}
        if self.width is not None:
            types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
            alone = project(alone, self.width, **types)
        return assemble(alone, alone[name].pooled)


class Decision(Assembly, kw_only=True):
    """Late fusion: the task once for each modality, on its own tokens, combined by `method`.

    The loss is that of the combination, plus `head_loss` times the losses of the heads, each on the
    rows that have its modality (`auxiliary_loss`, which is the same thing here, adds to
    `head_loss`). Heads read the encoder's own width, or `width`. Metrics of the headline are told
    of each head as well (`text_accuracy`), predictions have its own (`text_probabilities`), the
    `modality_weights` that were applied and the `uncertainty`, where the method has such. A model
    of one modality is its head alone.

    Raises ConfigError for a task whose outputs the method cannot combine, and without a loss for
    heads that learn from nothing else.
    """

    level: ClassVar[str] = "decision"

    method: CombinationSpec = Spec("average")
    head_loss: float = 1.0
    width: int | None = None
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        kind = self.task.outputs_are
        if not _takes(self.method.name, kind):
            raise ConfigError(
                109,
                f"'{self.method.name}' cannot combine the decisions of the task "
                f"{type(self.task).__name__}",
                where="model.fusion.method",
                fix=_able(kind),
            )
        names = tuple(by_name(self.encoders))
        self.combination = combinations.build(
            self.method,
            facts={"names": names, "kind": kind, "log_prior": self.task.log_prior()},
        )
        weight = self.head_loss + self.auxiliary_loss
        if self.combination.needs_head_losses and weight <= 0 and len(names) > 1:
            raise ConfigError(
                109,
                f"with '{self.method.name}' heads learn from their own losses, whose weight is 0",
                where="model.fusion.head_loss",
                fix="1.0",
            )
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.own = {
            name: Own(width=self.width, name=f"own_{name}", **types) for name in self.encoders
        }
        self.heads = {
            name: self.task.clone(parent=self, name=f"task_{name}") for name in self.encoders
        }

    def answer(self, tokens: Mapping[str, Tokens], batch: Batch, *, train: bool) -> TaskOutput:
        outputs = {
            name: self.heads[name].head_outputs(self.own[name](name, one), train=train)
            for name, one in tokens.items()
        }
        if len(outputs) == 1:
            return self.task.output(next(iter(outputs.values())), batch)
        combined = self._combine(outputs, tokens, batch, train=train)
        whole = self.task.output(combined.outputs, batch)
        own = {
            name: self.task.output(
                self.combination.own(outputs[name]), rows_of(batch, present(tokens[name]))
            )
            for name in tokens
        }
        loss = whole.loss
        if train:
            scale = self.head_loss + self.auxiliary_loss
            loss = loss + scale * relative_loss(list(own.values()), whole)
        metrics, predictions = dict(whole.metrics), dict(whole.predictions)
        for name, one in own.items():
            metrics |= {f"{name}/{key}": value for key, value in one.metrics.items()}
            predictions |= {f"{name}_{key}": value for key, value in one.predictions.items()}
        if combined.weights is not None:
            columns = [by_name(tokens).index(name) for name in self.encoders]
            predictions["modality_weights"] = combined.weights[:, jnp.array(columns)]
        if combined.uncertainty is not None:
            predictions["uncertainty"] = combined.uncertainty
        return dataclasses.replace(whole, loss=loss, metrics=metrics, predictions=predictions)

    def _combine(
        self,
        outputs: Mapping[str, Array],
        tokens: Mapping[str, Tokens],
        batch: Batch,
        *,
        train: bool,
    ) -> Combined:
        names = by_name(tokens)
        heads = Heads(
            jnp.stack([outputs[name] for name in names]),
            jnp.stack([present(tokens[name]) for name in names], axis=1),
            jnp.asarray(batch.row_mask),
            self.task.truth(batch),
        )
        return self.combination(heads, train=train)

    def with_losses_alone(
        self, output: TaskOutput, tokens: Mapping[str, Tokens], batch: Batch
    ) -> TaskOutput:
        """As it is: the losses of the heads, which are those of each modality alone, are in it."""
        return output

    def summary(self, tokens: Mapping[str, Tokens]) -> Float[Array, "b d"]:
        """The modalities' summaries, one after the other: no features are fused here."""
        return jnp.concatenate([one.pooled for one in tokens.values()], axis=-1)


def _takes(name: str, kind: OutputKind | None) -> bool:
    return kind in getattr(combinations.load(name), "takes", ())


def _able(kind: OutputKind | None) -> str:
    """The methods that could combine such outputs."""
    able = [name for name in combinations if _takes(name, kind)]
    return ", ".join(able) if able else "a fusion of features or tokens"
