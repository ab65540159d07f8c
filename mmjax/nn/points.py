"""Choosing among points in space."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float, Int


def farthest_points(
    places: Float[Array, "b p s"], mask: Bool[Array, "b p"], count: int
) -> tuple[Int[Array, "b m"], Bool[Array, "b m"]]:
    """Farthest point sampling (Qi et al. 2017, PointNet++): indices of `count` valid points.

    The first is the one farthest from their mean, so that the order of the points decides nothing
    but ties; each next one is farthest from those chosen. The mask is False beyond the number of
    valid points.
    """
    valid = mask.astype(places.dtype)[..., None]
    middle = (places * valid).sum(axis=1) / jnp.maximum(valid.sum(axis=1), 1)

    def apart(centre: Array) -> Array:
        return jnp.sum(jnp.square(places - centre[:, None]), axis=-1)

    def choose(distances: Array, _: None) -> tuple[Array, Array]:
        index = jnp.argmax(distances, axis=1)
        here = jnp.take_along_axis(places, index[:, None, None], axis=1)[:, 0]
        taken = jnp.arange(places.shape[1]) == index[:, None]
        nearer = jnp.minimum(distances, apart(here))
        return jnp.where(taken | ~mask, -1.0, nearer), index

    first = jnp.argmax(jnp.where(mask, apart(middle), -1.0), axis=1)
    start = jnp.where(jnp.arange(places.shape[1]) == first[:, None], jnp.inf, 1e30)
    _, chosen = jax.lax.scan(choose, jnp.where(mask, start, -1.0), None, length=count)
    return chosen.T, jnp.arange(count) < mask.sum(axis=1, keepdims=True)


def nearest_points(
    places: Float[Array, "b p s"],
    mask: Bool[Array, "b p"],
    centres: Float[Array, "b m s"],
    count: int,
) -> tuple[Int[Array, "b m k"], Bool[Array, "b m k"]]:
    """The `count` valid points nearest to each centre, and which of them there are."""
    apart = jnp.square(centres[:, :, None] - places[:, None]).sum(axis=-1)
    negative = jnp.where(mask[:, None], -apart, -jnp.inf)
    highest, index = jax.lax.top_k(negative, min(count, places.shape[1]))
    return index, jnp.isfinite(highest)


def gather_points(
    values: Float[Array, "b p c"], index: Int[Array, "b *m"]
) -> Float[Array, "b *m c"]:
    """The points at these indices."""
    return jax.vmap(lambda rows, places: rows[places])(values, index)
