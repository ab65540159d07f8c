"""How the decisions of several heads become one: a module for each rule of `fusion.decisions`."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.typing import Array, Float
from mmjax.fusion import decisions
from mmjax.fusion.solving import solve_gram
from mmjax.nn.dense import ACTIVATIONS, Activation, Initializer, dense, fan_in
from mmjax.tasks.base import OutputKind, class_logits, from_class_logits


@struct.dataclass
class Heads:
    """What the heads of all modalities say, in the order of the modalities' names."""

    outputs: Any
    """Those of the task, float `[modality b ...]`."""
    present: Any
    """Which rows have each modality, bool `[b modality]`."""
    counts: Any
    """The rows that count, bool `[b]`."""
    truth: Any = None
    """The target in the form of the outputs, float `[b ...]`, if the batch has it."""


@struct.dataclass
class Combined:
    """One output for all heads."""

    outputs: Any
    """As the task's, float32 `[b ...]`."""
    weights: Any = None
    """The coefficients that were applied, float32 `[b modality]`, where there are such."""
    uncertainty: Any = None
    """From 0 to 1, float32 `[b]`, where the method knows it."""


class Combination(nn.Module, abc.ABC, kw_only=True):
    """`Heads` -> `Combined`, of outputs of one `kind`."""

    takes: ClassVar[tuple[OutputKind, ...]] = ("classes", "labels")
    needs_head_losses: ClassVar[bool] = False
    """Whether a head learns from its own loss alone."""

    names: tuple[str, ...] = fact(())
    """The modalities, in the order of their names."""
    kind: OutputKind = fact("classes")
    log_prior: Any = fact()

    @abc.abstractmethod
    def __call__(self, heads: Heads, *, train: bool) -> Combined: ...

    def own(self, outputs: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """The outputs of one head as its own loss is to see them."""
        return outputs

    def logits(self, heads: Heads) -> Float[Array, "modality b ... c"]:
        return class_logits(heads.outputs.astype(jnp.float32), self.kind)

    def log_p(self, heads: Heads) -> Float[Array, "modality b ... c"]:
        return jax.nn.log_softmax(self.logits(heads))

    def back(self, log_p: Float[Array, "b ... c"]) -> Float[Array, "b ..."]:
        """Log-probabilities as outputs of the task."""
        return from_class_logits(log_p, self.kind)

    def mixed(self, heads: Heads, weights: Float[Array, "b modality"]) -> Combined:
        """Probabilities (or values) under these weights."""
        if self.kind == "values":
            values = heads.outputs.astype(jnp.float32)
            return Combined(decisions.weighted_values(values, weights), weights)
        return Combined(self.back(decisions.mixture(self.log_p(heads), weights)), weights)


class Average(Combination, kw_only=True):
    """The mean of the probabilities, or values, of the modalities that are there."""

    takes: ClassVar[tuple[OutputKind, ...]] = ("classes", "labels", "values")

    def __call__(self, heads: Heads, *, train: bool) -> Combined:
        return self.mixed(heads, decisions.equal_shares(heads.present))


class Weighted(Combination, kw_only=True):
    """sum_m w_m p_m, of the present modalities, their weights divided by their sum.

    `weights="fixed"` takes `values` by modality (equal ones if empty), `"learned"` trains their
    logits from there. `"solved"` has the weights of least squared error (Brier's score, of
    probabilities) in closed form: from the products of the heads' outputs with each other and with
    the truth, averaged over the batches with `momentum` and kept with the batch statistics. Of
    probabilities they sum to 1 and negative ones are cut off (stacked regressions, Breiman 1996,
    has them positive); of values they are applied as they are, also where a modality is absent.
    """

    takes: ClassVar[tuple[OutputKind, ...]] = ("classes", "labels", "values")

    weights: Literal["fixed", "learned", "solved"] = "learned"
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    momentum: float = 0.95
    ridge: float = 1e-4
    """Added to the diagonal of the mean products, in `"solved"`."""

    @nn.compact
    def __call__(self, heads: Heads, *, train: bool) -> Combined:
        start = self._start()
        if self.weights == "solved":
            return self._solved(heads, start, train=train)
        if self.weights == "learned":
            start = jax.nn.softmax(self.param("logits", lambda key: jnp.log(start)))
        return self.mixed(heads, decisions.shares(start, heads.present))

    def _start(self) -> Float[Array, "modality"]:
        values = self.values or dict.fromkeys(self.names, 1.0 / len(self.names))
        if set(values) != set(self.names):
            raise ConfigError(
                109,
                f"weights of {', '.join(sorted(values))}",
                where="model.fusion.method.values",
                fix=f"one value each for {', '.join(self.names)}",
            )
        least = min(values.values())
        if least < 0 or (least == 0 and self.weights != "fixed") or not sum(values.values()):
            raise ConfigError(
                109,
                f"weights of decisions cannot be {least}",
                where="model.fusion.method.values",
                fix="positive values",
            )
        return jnp.asarray([values[name] for name in self.names], jnp.float32)

    def _solved(self, heads: Heads, start: Float[Array, "modality"], *, train: bool) -> Combined:
        count = len(self.names)
        gram = self.variable("batch_stats", "gram", jnp.zeros, (count, count))
        cross = self.variable("batch_stats", "cross", jnp.zeros, (count,))
        rows = self.variable("batch_stats", "rows", jnp.zeros, ())
        values = heads.outputs.astype(jnp.float32)
        truth = heads.truth
        if self.kind != "values":
            values = jnp.exp(self.log_p(heads))
            if truth is not None and self.kind == "labels":
                truth = jnp.stack([1 - truth, truth], axis=-1)
        if train and truth is not None and self.is_mutable_collection("batch_stats"):
            counted = heads.present & heads.counts[:, None]
            here = decisions.across(counted, values)
            parts = jax.lax.stop_gradient(jnp.where(here, values, 0.0)).reshape(count, -1)
            aim = jnp.where(here.any(axis=0), truth.astype(jnp.float32), 0.0).reshape(-1)
            some = counted.any(axis=1).sum().astype(jnp.float32)
            for kept, new in (
                (gram, jnp.einsum("kn,mn->km", parts, parts, precision="highest")),
                (cross, jnp.einsum("kn,n->k", parts, aim, precision="highest")),
                (rows, some),
            ):
                kept.value = self.momentum * kept.value + (1 - self.momentum) * new
        mean = jnp.maximum(rows.value, 1e-9)
        found = solve_gram(
            gram.value / mean,
            cross.value / mean,
            constraint="none" if self.kind == "values" else "sum_to_one",
            ridge=self.ridge,
        )
        known = rows.value > 0
        if self.kind == "values":
            applied = jnp.where(heads.present, jnp.where(known, found, start), 0.0)
            return self.mixed(heads, applied)
        found = jnp.where(known, jnp.maximum(found, 0.0), start)
        # Where only modalities of weight 0 are there, they count alike.
        applied = decisions.shares(found, heads.present)
        none = (applied.sum(axis=1) == 0)[:, None]
        return self.mixed(heads, jnp.where(none, decisions.equal_shares(heads.present), applied))


class ProductOfExperts(Combination, kw_only=True):
    """The renormalised product of the probabilities of the modalities that are there.

    `prior="counts"` divides it by the share of each class among the training rows, once for each
    modality but one: right for heads that are independent given the class.
    """

    prior: Literal["uniform", "counts"] = "uniform"

    def __call__(self, heads: Heads, *, train: bool) -> Combined:
        prior = None
        if self.prior == "counts":
            prior = self.log_prior
            if prior is None or self.kind != "classes":
                raise ConfigError(
                    109,
                    "prior='counts' needs the counts of the classes, which this task does not have",
                    where="model.fusion.method.prior",
                    fix="prior='uniform'",
                )
        return Combined(
            self.back(decisions.product_of_experts(self.log_p(heads), heads.present, prior))
        )


class MajorityVote(Combination, kw_only=True):
    """The class that most modalities vote for; ties by the mean probability, then the lower index.

    Its probability is (votes + mean probability) / (voters + 1).
    """

    needs_head_losses: ClassVar[bool] = True

    def __call__(self, heads: Heads, *, train: bool) -> Combined:
        return Combined(self.back(decisions.majority_vote(self.log_p(heads), heads.present)))


class Stacking(Combination, kw_only=True):
    """A meta-learner on the heads' log-probabilities (or values) and on which modalities are there.

    Stacked generalisation (Wolpert 1992): a dense layer, with `hidden` an MLP. The heads learn from
    their own losses alone. The dense layer starts as their mean: from random weights it needs many
    more steps than the heads to say as much as one of them.
    """

    takes: ClassVar[tuple[OutputKind, ...]] = ("classes", "labels", "values")
    needs_head_losses: ClassVar[bool] = True

    hidden: int = 0
    activation: Activation = "gelu"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, heads: Heads, *, train: bool) -> Combined:
        if self.kind == "values":
            given = heads.outputs.astype(jnp.float32)
            given = given[..., None] if given.ndim == 2 else given
        else:
            given = self.log_p(heads)
        seen = decisions.stacking_features(given, heads.present, stopped=train)
        init = _mean_of_heads(len(given))
        if self.hidden:
            init = fan_in
            seen = dense(self.hidden, ("joined", "mlp"), name="hidden")(seen)
            seen = ACTIVATIONS[self.activation](seen)
            seen = nn.Dropout(self.dropout, deterministic=not train)(seen)
        found = dense(given.shape[-1], ("mlp", "labels"), name="out", init=init)(seen)
        some = heads.present.any(axis=1).reshape(-1, *[1] * (found.ndim - 1))
        if self.kind == "values":
            return Combined(jnp.where(some, found, 0.0).reshape(heads.outputs.shape[1:]))
        return Combined(self.back(jax.nn.log_softmax(jnp.where(some, found, 0.0))))


def _mean_of_heads(count: int) -> Initializer:
    """Of a kernel on the outputs of so many heads behind each other: their mean, and no more."""

    def init(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
        mean = jnp.tile(jnp.eye(shape[1], dtype=dtype) / count, (count, 1))
        return jnp.pad(mean, ((0, shape[0] - len(mean)), (0, 0)))

    return init


class DempsterShafer(Combination, kw_only=True):
    """Trusted multi-view classification (Han et al. 2021): opinions joined by Dempster's rule.

    Evidence is softplus of a head's logits. Losses are those of the expected probabilities (Sensoy
    et al. 2018, equation 3), for each head and for all together; the papers' further term, which
    draws wrong evidence to 0 over the epochs, is left out. Predictions gain an `uncertainty`, which
    is 1 for a row without any modality.
    """

    def __call__(self, heads: Heads, *, train: bool) -> Combined:
        log_p, doubt = decisions.dempster_shafer(self.logits(heads), heads.present)
        return Combined(self.back(log_p), uncertainty=doubt)

    def own(self, outputs: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        logits = class_logits(outputs.astype(jnp.float32), self.kind)
        return self.back(decisions.expected_probability(*decisions.opinion(logits)))
