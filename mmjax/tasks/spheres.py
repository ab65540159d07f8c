"""The state of Deep SVDD, centres and radii: what a task does with its `NORMAL` variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Float
from mmjax.tasks.anomaly_heads import NORMAL

Boundary = Literal["hard", "soft"]

_CENTRE_EPS = 0.1


def declare(task: nn.Module, part: str, width: int) -> None:
    """Makes the variables of a part's sphere; to be called in a compact method."""
    for name, shape in (("centre", (width,)), ("radius", ()), ("started", ())):
        task.variable(NORMAL, f"{part}_{name}", jnp.zeros, shape, jnp.float32)


def settle(
    task: nn.Module,
    part: str,
    embedded: Float[Array, "b e"],
    counts: Bool[Array, "b"],
    *,
    boundary: Boundary,
    nu: float,
    warmup: float,
) -> None:
    """In the first training step makes the centre, in later ones the radius of a soft boundary.

    The centre is the mean of the rows that count. The radius is the quantile 1 - `nu` of the
    distances in the batch once `warmup` of the run is over, and 0 before, as in the authors' code.
    """
    if task.is_initializing() or not task.is_mutable_collection(NORMAL):
        return
    own = jax.lax.stop_gradient(embedded)
    first = (_of(task, part, "started") == 0) & counts.any()
    mean = jnp.sum(jnp.where(counts[:, None], own, 0), axis=0) / jnp.maximum(counts.sum(), 1)
    # A centre of zeros could be reached by weights of zeros (proposition 1).
    away = jnp.where(mean < 0, -_CENTRE_EPS, _CENTRE_EPS)
    mean = jnp.where(jnp.abs(mean) < _CENTRE_EPS, away, mean)
    centre = jnp.where(first, mean, _of(task, part, "centre"))
    task.put_variable(NORMAL, f"{part}_centre", centre)
    started = jnp.where(first, 1.0, _of(task, part, "started"))
    task.put_variable(NORMAL, f"{part}_started", started)
    if boundary == "soft":
        progress = jnp.zeros(())
        if task.has_variable("clock", "progress"):
            progress = task.get_variable("clock", "progress")
        apart = jnp.sqrt(jnp.square(own - centre).sum(axis=-1))
        radius = jnp.nanquantile(jnp.where(counts, apart, jnp.nan), 1 - nu)
        due = counts.any() & (progress >= warmup)
        task.put_variable(
            NORMAL, f"{part}_radius", jnp.where(due, radius, _of(task, part, "radius"))
        )


def distances(
    task: nn.Module, embedded: Mapping[str, Float[Array, "b e"]]
) -> dict[str, Float[Array, "b"]]:
    """The squared distances of each part to its centre."""
    return {
        part: jnp.square(one - _of(task, part, "centre")).sum(axis=-1)
        for part, one in embedded.items()
    }


def outside(
    task: nn.Module, embedded: Mapping[str, Float[Array, "b e"]]
) -> dict[str, Float[Array, "b"]]:
    """Squared distance minus squared radius."""
    found = distances(task, embedded)
    return {part: one - jnp.square(_of(task, part, "radius")) for part, one in found.items()}


def losses(
    task: nn.Module,
    embedded: Mapping[str, Float[Array, "b e"]],
    *,
    boundary: Boundary,
    nu: float,
) -> dict[str, Float[Array, "b"]]:
    """Of each row what equation 4 (hard) or 3 (soft) of Ruff et al. 2018 takes the mean of."""
    if boundary == "hard":
        return distances(task, embedded)
    return {
        part: jnp.square(_of(task, part, "radius")) + jax.nn.relu(one) / nu
        for part, one in outside(task, embedded).items()
    }


def relative_distance(
    task: nn.Module,
    embedded: Mapping[str, Float[Array, "b e"]],
    counts: Mapping[str, Bool[Array, "b"]],
) -> Float[Array, ""]:
    """The sum over rows of the squared distance over the centre's squared length, mean of parts."""
    total = jnp.zeros((), jnp.float32)
    for part, one in distances(task, embedded).items():
        length = jnp.square(_of(task, part, "centre")).sum()
        total += jnp.sum(jnp.where(counts[part], one / jnp.maximum(length, 1e-9), 0.0))
    return total / len(embedded)


def _of(task: nn.Module, part: str, name: str) -> Array:
    return jnp.asarray(task.get_variable(NORMAL, f"{part}_{name}"))
