"""Whether an explanation is true: the score as places go, or come, in its order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain import features as feature_lib
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject

SHARES = tuple(float(one) for one in np.linspace(0.0, 1.0, 11))
"""The shares of places that are hidden, or shown."""


@dataclasses.dataclass(frozen=True)
class Curves:
    """Of each row the probability of what was said with the first shares of places hidden
    (`deletion`) or alone shown (`insertion`).

    Of a score that is no probability its share of what all places add to it: 1 with all, 0 with
    none; NaN where they add nothing. `random` are the same by random orders, the mean of several;
    `moved` by the explanation itself, its places turned round by random distances. A coarse map
    hides and shows whole regions, and single places that are strewn all over an input tell more
    than one region of as many: the moved map is as coarse, and knows as little as a random order.
    """

    deletion: Float[np.ndarray, "b shares"]
    insertion: Float[np.ndarray, "b shares"]
    random_deletion: Float[np.ndarray, "b shares"]
    random_insertion: Float[np.ndarray, "b shares"]
    moved_deletion: Float[np.ndarray, "b shares"]
    moved_insertion: Float[np.ndarray, "b shares"]

    def areas(self) -> dict[str, Float[np.ndarray, "b"]]:
        """The areas under them by the trapezoidal rule, by the names of `Explanation.checks`."""
        return {
            "deletion": area(self.deletion),
            "deletion_random": area(self.random_deletion),
            "deletion_moved": area(self.moved_deletion),
            "insertion": area(self.insertion),
            "insertion_random": area(self.random_insertion),
            "insertion_moved": area(self.moved_insertion),
        }


def area(curve: Float[np.ndarray, "b shares"]) -> Float[np.ndarray, "b"]:
    """Under a curve over shares from 0 to 1."""
    return np.trapezoid(curve, np.asarray(SHARES), axis=1)


def places_in_order(
    values: Float[np.ndarray, "b ..."], valid: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "b ..."]:
    """How far down each place is as values fall: 0 the first, near 1 the last; 2 where nothing is.

    Equal values come in a random order.
    """
    found = np.full(values.shape, 2.0, np.float32)
    for row in range(len(values)):
        at = np.flatnonzero(valid[row].reshape(-1))
        own = values[row].reshape(-1)[at]
        order = np.lexsort((rng.random(len(at)), -own))
        ranks = np.empty(len(at), np.float32)
        ranks[order] = np.arange(len(at)) / max(len(at), 1)
        found[row].reshape(-1)[at] = ranks
    return found


def moved(
    values: Float[np.ndarray, "b ..."], valid: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "b ..."]:
    """The numbers of each row turned round along every axis; along the first one within what it
    has, since padding stands behind.
    """
    found = np.array(values)
    for row, here in enumerate(valid):
        count = int(here.reshape(len(here), -1).any(axis=1).sum())
        if count:
            own = values[row, :count]
            steps = [int(rng.integers(size)) for size in own.shape]
            found[row, :count] = np.roll(own, steps, axis=tuple(range(own.ndim)))
    return found


def curves(
    subject: Subject,
    batch: Batch,
    choice: Choice,
    parts: Mapping[str, Float[np.ndarray, "b ..."]],
    *,
    draws: int = 2,
    seed: int = 0,
) -> Curves:
    """The curves of a batch (Petsiuk et al. 2018, deletion and insertion; Samek et al. 2017).

    In every modality that `parts` is of, the same share of the valid places goes at once, those of
    the highest numbers first; what is hidden is nothing, as `features.blank` has it.
    """
    rng = np.random.default_rng(seed)
    valid = {
        name: np.asarray(feature_lib.valid(batch, name, jnp.asarray(values)))
        for name, values in parts.items()
    }

    def asked(values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        ranks = {n: places_in_order(v, valid[n], rng) for n, v in values.items()}
        found = subject.call(("curves", tuple(parts)), _curve(subject), batch, choice, ranks)
        deletion, insertion = (np.asarray(one, np.float64).T for one in found)
        if subject.score.has_probability:
            return deletion, insertion
        whole, nothing = deletion[:, :1], deletion[:, -1:]
        span = whole - nothing
        span = np.where(np.abs(span) < 1e-3 * np.abs(whole).max(initial=1e-9), np.nan, span)
        return (deletion - nothing) / span, (insertion - nothing) / span

    own = asked(parts)
    orders = (
        lambda: {n: np.zeros_like(v) for n, v in parts.items()},
        lambda: {n: moved(v, valid[n], rng) for n, v in parts.items()},
    )
    means = []
    for order in orders:
        found = [asked(order()) for _ in range(draws)]
        means += [np.mean([one[side] for one in found], axis=0) for side in range(2)]
    return Curves(*own, *means)


def _curve(subject: Subject) -> Any:
    def traced(
        variables: Any, batch: Batch, choice: Choice, ranks: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        own, nothing = subject.features(variables, batch, choice)
        ranks = {name: one for name, one in ranks.items() if name in own}

        def at(asked: tuple[Array, Array]) -> Array:
            share, inserted = asked
            kept = {name: (one < share) == inserted for name, one in ranks.items()}
            mixed = subject.mixed(batch, kept, own, nothing)
            return subject.scores(variables, batch, choice, mixed, "probability")

        # A little above, since ranks are shares themselves.
        shares = jnp.asarray(SHARES, jnp.float32)
        shares = jnp.where(shares > 0, shares + 1e-6, 0.0)
        sides = jnp.arange(2 * len(SHARES)) >= len(SHARES)
        found = jax.lax.map(at, (jnp.tile(shares, 2), sides))
        return found[: len(SHARES)], found[len(SHARES) :]

    return traced
