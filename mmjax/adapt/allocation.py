"""Which entries of AdaLoRA's diagonals stay: a transformation of the update rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from mmjax.adapt import KEY
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array
from mmjax.parallel.sharding import unbox

_PARTS = ("a", "e", "b")


@dataclasses.dataclass(frozen=True)
class Budget:
    """What the entries that stay are chosen by."""

    target: int
    """Entries a layer at the end, on average."""
    beta1: float
    beta2: float
    orthogonality: float


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How many entries all layers keep, by step (PEFT's `RankAllocator.budget_schedule`)."""

    total: int
    initial: int
    final: int
    every: int

    def __post_init__(self) -> None:
        if self.total - self.final - self.initial <= 0:
            raise ConfigError(
                109,
                f"of {self.total} steps, the first {self.initial} and the last {self.final} leave "
                "none to take ranks away in",
                where="adapt.*.initial, adapt.*.final",
                fix="smaller ones, or a longer run",
            )

    @property
    def settled(self) -> int:
        """The step from which on nothing is chosen any more."""
        return self.total - self.final

    def budget(self, step: int, start: int, end: int) -> int:
        """How many entries of `start` are kept at a step, counted from 0."""
        if step <= self.initial:
            return start
        if step >= self.settled:
            return end
        left = 1 - (step - self.initial) / (self.settled - self.initial)
        return int((start - end) * left**3 + end)

    def chooses(self, step: int) -> bool:
        """Whether entries are chosen anew behind this step."""
        between = self.initial < step < self.settled and step % self.every == 0
        return between or step == self.settled


@struct.dataclass
class Allocating:
    """The importance of every number, the entries that are kept, and the update rule's state."""

    count: Array
    sensitivity: Any
    """By site and part, as the parameters."""
    uncertainty: Any
    lost: Mapping[str, Array]
    """By site, which entries of its diagonal are 0."""
    inner: Any
    name: str = struct.field(pytree_node=False)

    def ranks(self) -> dict[str, Array]:
        """How many entries each layer keeps, by names for the log, and all together."""
        found: dict[str, Array] = {}
        for site, lost in self.lost.items():
            counts = (~lost).sum(axis=-1)
            if counts.ndim == 0:
                found[f"rank/{site}"] = counts
                continue
            for index, count in enumerate(counts.reshape(-1)):
                found[f"rank/{site}.{index}"] = count
        return {**found, "rank/all": sum(found.values(), jnp.zeros((), jnp.int32))}


def allocating(
    inner: optax.GradientTransformationExtraArgs,
    name: str,
    budget: Budget,
    schedule: Schedule,
    max_grad_norm: float | None,
) -> optax.GradientTransformationExtraArgs:
    """`inner`, and behind each of its updates the choice of entries (Zhang et al. 2023).

    It is given the gradients of the loss, and adds that of the orthogonality. Importance is that of
    the parameters after the update with the gradients as they were clipped, as where PEFT's
    `update_and_allocate` is called behind the optimiser's step.
    """

    def sites(tree: Any) -> Mapping[str, Any]:
        return tree[KEY][name]

    def init(params: Any) -> Allocating:
        own = sites(params)
        nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf, jnp.float32), own)
        lost = {site: jnp.zeros_like(values["e"], bool) for site, values in unbox(own).items()}
        return Allocating(
            jnp.zeros((), jnp.int32),
            nothing,
            jax.tree.map(jnp.copy, nothing),
            lost,
            inner.init(params),
            name,
        )

    def update(
        updates: Any, state: Allocating, params: Any = None, **told: Any
    ) -> tuple[Any, Allocating]:
        if params is None:
            raise ValueError("ranks are allocated by the parameters: give them to `update`")
        if budget.orthogonality:
            updates, told = _with_orthogonality(updates, params, name, budget.orthogonality, told)
        new, inner_state = inner.update(updates, state.inner, params, **told)
        share = _clipped(updates, told.get("grad_norm"), max_grad_norm)
        after = jax.tree.map(jnp.add, sites(params), sites(new))
        importance = jax.tree.map(lambda p, g: jnp.abs(p * g * share), after, sites(updates))
        learning = state.count < schedule.settled

        def averaged(old: Array, value: Array, beta: float) -> Array:
            return jnp.where(learning, beta * old + (1 - beta) * value, old)

        sensitivity = jax.tree.map(
            lambda old, one: averaged(old, one, budget.beta1), state.sensitivity, importance
        )
        uncertainty = jax.tree.map(
            lambda old, one, mean: averaged(old, jnp.abs(one - mean), budget.beta2),
            state.uncertainty,
            importance,
            sensitivity,
        )
        scores = {
            site: _triplets(jax.tree.map(jnp.multiply, sensitivity[site], uncertainty[site]))
            for site in sensitivity
        }
        lost, masked = _choose(scores, state.lost, state.count, budget, schedule)
        diagonals = {
            site: jnp.where(masked & lost[site], 0, values["e"]) for site, values in after.items()
        }
        chosen = {
            site: {**values, "e": diagonals[site] - sites(params)[site]["e"]}
            for site, values in sites(new).items()
        }
        new = {**new, KEY: {**new[KEY], name: chosen}}
        found = Allocating(state.count + 1, sensitivity, uncertainty, lost, inner_state, name)
        return new, found

    return optax.GradientTransformationExtraArgs(init, update)


def _clipped(updates: Any, norm: Array | None, most: float | None) -> Array | float:
    """What clipping makes of the gradients, as a share."""
    if most is None:
        return 1.0
    norm = optax.tree.norm(updates) if norm is None else norm
    return jnp.where(norm < most, 1.0, most / norm)


def _triplets(scores: Mapping[str, Array]) -> Array:
    """The score of each entry with its row of A and its column of B: `[*layers rank]`."""
    a, e, b = (scores[part] for part in _PARTS)
    of_a = a.mean(axis=tuple(range(e.ndim - 1, a.ndim - 1)))
    return e + of_a + b.mean(axis=tuple(range(e.ndim, b.ndim)))


def _choose(
    scores: Mapping[str, Array],
    before: Mapping[str, Array],
    step: Array,
    budget: Budget,
    schedule: Schedule,
) -> tuple[dict[str, Array], Array]:
    """The entries that are lost, and whether they are set to 0 behind this step."""
    start = sum(one.size for one in scores.values())
    layers = sum(one.size // one.shape[-1] for one in scores.values())
    end = min(budget.target * layers, start)
    steps = range(schedule.settled + 1)
    # Counted on the host: in float32 a budget may fall one short.
    fewer = np.array([start - schedule.budget(one, start, end) for one in steps], np.int32)
    chooses = np.array([schedule.chooses(one) for one in steps])
    at = jnp.minimum(step, schedule.settled)
    choosing = jnp.asarray(chooses)[at] & (step <= schedule.settled)
    ordered = jnp.sort(jnp.concatenate([one.reshape(-1) for one in scores.values()]))
    count = jnp.asarray(fewer)[at]
    threshold = jnp.where(count > 0, ordered[jnp.maximum(count - 1, 0)], -jnp.inf)
    found = {
        site: jnp.where(choosing, one <= threshold, before[site]) for site, one in scores.items()
    }
    return found, choosing | (step > schedule.settled)


def orthogonality(sites: Mapping[str, Mapping[str, Array]]) -> Array:
    """The mean over all A and B of the Frobenius norm of A A^T - 1 and B^T B - 1."""
    total, count = jnp.zeros((), jnp.float32), 0
    for values in sites.values():
        layers = values["e"].ndim - 1
        rank = values["e"].shape[-1]
        for part, axis in (("a", -1), ("b", layers)):
            rows = jnp.moveaxis(values[part], axis, layers)
            rows = rows.reshape(-1, rank, int(np.prod(rows.shape[layers + 1 :])))
            products = jnp.einsum("lrd,lsd->lrs", rows, rows)
            total += optax.safe_norm(products - jnp.eye(rank), 1e-12, axis=(1, 2)).sum()
            count += len(rows)
    return total / max(count, 1)


def _with_orthogonality(
    updates: Any, params: Any, name: str, weight: float, told: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The gradients with those of the orthogonality, and their norm where it was told."""
    more = jax.grad(orthogonality)(params[KEY][name])
    own = jax.tree.map(lambda g, extra: g + weight * extra, updates[KEY][name], more)
    whole = {**updates, KEY: {**updates[KEY], name: own}}
    if "grad_norm" not in told:
        return whole, dict(told)
    return whole, {**told, "grad_norm": optax.tree.norm(whole)}
