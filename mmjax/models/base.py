"""What every assembly shares: encoders, what is hidden from them, and the losses of each alone."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Batch, Fused, TaskOutput, Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float
from mmjax.encoders.fields import select
from mmjax.fusion.base import present
from mmjax.models.balancing import modulation, right_share, scaled_gradient, sums_of
from mmjax.models.encoding import drop, encode_views, hide, keep_modalities
from mmjax.models.missing import StandIn
from mmjax.models.regularizing import (
    Mix,
    draw_mix,
    mix_tokens,
    mix_twice,
    symmetric_kl,
    twice,
    with_targets_of,
)

Fields = Mapping[str, Mapping[str, ArrayLike]]
"""What each modality's encoder is called with."""

Present = Mapping[str, Bool[Array, "b"]]
"""Which rows have each modality."""


def given(default: Any) -> Any:
    """A field that whoever builds the assembly gives, and that is no setting of its own."""
    return dataclasses.field(default_factory=default, metadata={"fact": True})


class Assembly(nn.Module, abc.ABC, kw_only=True):
    """`{modality: arrays}` -> Tokens -> TaskOutput.

    `feature_dropout` leaves out channels of a modality's `pooled` in training.

    With `auxiliary_loss`, the loss gains that many times the losses of each modality alone, all
    other modalities hidden. Otherwise the modality that is learnt first leaves the others little to
    explain (Wang et al. 2020), and a row that lacks one is at a loss.

    With `gradient_balance`, an encoder whose modality alone says more of the truth than the others
    do is given less of its gradient (`balancing.modulation`), in each training batch anew; what
    comes behind the encoders learns as ever.
    """

    encoders: Mapping[str, nn.Module] = given(dict)
    task: Any = fact()
    feature_dropout: Mapping[str, float] = given(dict)
    modality_dropout: float = fact(0.0)
    auxiliary_loss: float = fact(0.0)
    gradient_balance: float = fact(0.0)

    @abc.abstractmethod
    def answer(self, tokens: Mapping[str, Tokens], batch: Batch, *, train: bool) -> TaskOutput:
        """What the model makes of the tokens of all modalities."""

    @abc.abstractmethod
    def summary(self, tokens: Mapping[str, Tokens]) -> Float[Array, "b d"]:
        """One vector for all modalities together."""

    def run_encoders(self, fields: Fields, keep: Present, *, train: bool) -> dict[str, Tokens]:
        """The tokens of every encoder; of absent rows they may hold anything."""
        return {
            name: encode_views(encoder, fields[name], train=train)
            for name, encoder in self.encoders.items()
        }

    def encode(
        self, batch: Batch, keep: Present | None = None, *, train: bool
    ) -> dict[str, Tokens]:
        """Each modality's tokens, with absent (and, in training, dropped) rows masked.

        `keep` says which rows stay; if None, those that are present, in training thinned out.
        Raises ConfigError for a modality whose fields are not those of its encoder.
        """
        if keep is None:
            keep = self._present(batch, train=train)
        fields = {
            name: select(encoder, batch.inputs[name], name)
            for name, encoder in self.encoders.items()
        }
        found = self.run_encoders(fields, keep, train=train)
        tokens = {}
        for name in self.encoders:
            own = hide(found[name], keep[name])
            rate = self.feature_dropout.get(name, 0.0)
            if train and rate > 0.0:
                pooled = drop(own.pooled, self.make_rng("dropout"), rate)
                own = Tokens(own.values, own.mask, pooled)
            tokens[name] = own
        return tokens

    def _present(self, batch: Batch, *, train: bool) -> Present:
        names = list(self.encoders)
        here = jnp.stack([jnp.asarray(batch.present[name]) for name in names], axis=1)
        if train and self.modality_dropout > 0.0 and len(names) > 1:
            here = keep_modalities(self.make_rng("dropout"), here, self.modality_dropout)
        return {name: here[:, index] for index, name in enumerate(names)}

    def embed(self, batch: Batch) -> dict[str, Float[Array, "b d"]]:
        """The summaries of a batch: `fused`, and each modality's own by its name."""
        tokens = self.encode(batch, train=False)
        own = {name: one.pooled for name, one in tokens.items()}
        return {"fused": self.summary(tokens), **own}

    def __call__(self, batch: Batch, *, train: bool) -> TaskOutput:
        tokens = self.encode(batch, train=train)
        told: dict[str, Array] = {}
        if train:
            tokens, told = self.balanced(tokens, batch)
        output = with_sums(self.answer(tokens, batch, train=train), told)
        if not train or len(tokens) == 1:
            return output
        return self.with_losses_alone(output, tokens, batch)

    def balanced(
        self, tokens: Mapping[str, Tokens], batch: Batch
    ) -> tuple[dict[str, Tokens], dict[str, Array]]:
        """The tokens, with what flows back of those of strong modalities made smaller; and how much
        smaller, as sums."""
        truth = self.task.truth(batch) if self.gradient_balance else None
        if truth is None or len(tokens) == 1:
            return dict(tokens), {}
        scores = []
        for name, one in tokens.items():
            rows = rows_of(batch, present(one))
            alone = self.answer(self.only(name, tokens, rows), rows, train=False)
            told, counts = alone.predictions["probabilities"], jnp.asarray(rows.row_mask)
            scores.append(right_share(told, truth, counts, self.task.outputs_are))
        shares = modulation(jax.lax.stop_gradient(jnp.stack(scores)), self.gradient_balance)
        each = dict(zip(tokens, shares, strict=True))
        made = {name: scaled_gradient(one, each[name]) for name, one in tokens.items()}
        return made, sums_of(each)

    def with_losses_alone(
        self, output: TaskOutput, tokens: Mapping[str, Tokens], batch: Batch
    ) -> TaskOutput:
        """The output with `auxiliary_loss` times the losses of each modality alone in its loss."""
        if not self.auxiliary_loss:
            return output
        parts = []
        for name, one in tokens.items():
            rows = rows_of(batch, present(one))
            parts.append(self.answer(self.only(name, tokens, rows), rows, train=True))
        extra = self.auxiliary_loss * relative_loss(parts, output)
        return dataclasses.replace(output, loss=output.loss + extra)

    def only(self, name: str, tokens: Mapping[str, Tokens], batch: Batch) -> dict[str, Tokens]:
        """The tokens in training with all modalities but one hidden."""
        nowhere = jnp.zeros(tokens[name].mask.shape[0], bool)
        return {
            other: one if other == name else hide(one, nowhere) for other, one in tokens.items()
        }


class Fusing(Assembly, kw_only=True):
    """An assembly whose task reads what a fusion made of all modalities.

    The fusion sees `stand_ins` where a row lacks a modality: one that the data lack, that dropout
    hid, or that a loss of another modality alone hides. Heads that read what the encoders made, and
    the rows of a modality's own losses, go by what is there.

    With `r_drop`, a training batch is taken twice, with other dropout (the same modalities hidden),
    and the loss is the mean of both plus that many times the mean of both divergences of their
    predictions (Liang et al. 2021, equation 4). With `mixup`, each row's tokens and summaries are
    mixed with those of another before the fusion, and its loss with the loss of the other's target
    (manifold mixup, Verma et al. 2019): words cannot be mixed, what encoders make of them can, and
    all modalities of a row are mixed alike. Sums and predictions are those of the first time, with
    the row's own target. Both are for tasks whose outputs are logits of classes or labels.
    """

    stand_ins: Mapping[str, StandIn] = given(dict)
    r_drop: float = fact(0.0)
    mixup: float = fact(0.0)

    @abc.abstractmethod
    def join(self, tokens: Mapping[str, Tokens], *, train: bool) -> Fused:
        """The tokens of all modalities as one."""

    def fuse(self, tokens: Mapping[str, Tokens], *, train: bool) -> Fused:
        """The tokens of all modalities as one, with what stands in for those that are absent."""
        filled = {
            name: self.stand_ins[name](one) if name in self.stand_ins else one
            for name, one in tokens.items()
        }
        return self.join(filled, train=train)

    def answer(self, tokens: Mapping[str, Tokens], batch: Batch, *, train: bool) -> TaskOutput:
        # A task may have heads that read what the encoders made as well.
        more = {"tokens": tokens} if getattr(self.task, "needs_tokens", False) else {}
        return self.task(self.fuse(tokens, train=train), batch, train=train, **more)

    def __call__(self, batch: Batch, *, train: bool) -> TaskOutput:
        if not train or not (self.r_drop or self.mixup):
            return super().__call__(batch, train=train)
        keep, wide, mix = self._present(batch, train=True), batch, None
        counts = jnp.asarray(batch.row_mask)
        if self.mixup:
            mix = draw_mix(self.make_rng("dropout"), counts, self.mixup)
        if self.r_drop:
            keep, wide, mix = twice(keep), twice(batch), mix and mix_twice(mix)
        made, told = self.balanced(self.encode(wide, keep, train=True), wide)
        outputs = self._outputs(made, mix)
        whole = self._judged(outputs, wide, mix)
        loss, weight, first = whole.loss, whole.weight, whole
        if self.auxiliary_loss and len(made) > 1:
            parts = []
            for name, one in made.items():
                alone = self.only(name, made, wide)
                # A mixture has what one of its rows has.
                here = present(one) if mix is None else present(one) | present(one)[mix.partner]
                rows = rows_of(wide, here)
                parts.append(self._judged(self._outputs(alone, mix), rows, mix))
            loss = loss + self.auxiliary_loss * relative_loss(parts, whole)
        if self.r_drop:
            apart = symmetric_kl(outputs[::2], outputs[1::2], self.task.outputs_are)
            weight = weight / 2
            total = jnp.sum(jnp.where(counts, apart, 0.0))
            loss = loss + self.r_drop * total / jnp.maximum(weight, 1e-9)
            first = self.task.output(outputs[::2], batch)
        return with_sums(dataclasses.replace(first, loss=loss, weight=weight), told)

    def _outputs(self, tokens: Mapping[str, Tokens], mix: Mix | None) -> Array:
        given = tokens if mix is None else mix_tokens(tokens, mix)
        return self.task.head_outputs(self.fuse(given, train=True), train=True)

    def _judged(self, outputs: Array, batch: Batch, mix: Mix | None) -> TaskOutput:
        """The task's output, with the loss of the targets that are mixed."""
        own = self.task.output(outputs, batch)
        if mix is None:
            return own
        other = self.task.output(outputs, with_targets_of(batch, mix))
        shares = (mix.share * own.weight, (1 - mix.share) * other.weight)
        weight = shares[0] + shares[1]
        loss = (shares[0] * own.loss + shares[1] * other.loss) / jnp.maximum(weight, 1e-9)
        return dataclasses.replace(own, loss=loss, weight=weight)

    def summary(self, tokens: Mapping[str, Tokens]) -> Float[Array, "b d"]:
        return self.fuse(tokens, train=False).pooled


def rows_of(batch: Batch, here: Bool[Array, "b"]) -> Batch:
    """The batch with only these of its rows counted."""
    return dataclasses.replace(batch, row_mask=jnp.asarray(batch.row_mask) & here)


def with_sums(output: TaskOutput, more: Mapping[str, Array]) -> TaskOutput:
    """The output with sums of the model itself beside those of the task."""
    return dataclasses.replace(output, metrics={**output.metrics, **more}) if more else output


def relative_loss(parts: Sequence[TaskOutput], whole: TaskOutput) -> Float[Array, ""]:
    """The summed losses of all rows of the parts, over the weight of the whole."""
    total = sum((part.loss * part.weight for part in parts), jnp.zeros((), jnp.float32))
    return total / jnp.maximum(whole.weight, 1e-9)
