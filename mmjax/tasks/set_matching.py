"""Which prediction answers for which object: the cheapest assignment of a set to another."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from optax.assignment import hungarian_algorithm

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.kernels.partition import ROWS, split_kernel
from mmjax.nn.boxes import generalized_iou, to_corners

_HIGHEST = 1e6
"""What a cost is cut at: the algorithm does not end on numbers that are not finite."""


def matching_costs(
    chances: Float[Array, "*b q v"],
    boxes: Float[Array, "*b q 4"],
    labels: Int[Array, "*b m"],
    truth: Float[Array, "*b m 4"],
    *,
    weights: tuple[float, float, float] = (1.0, 5.0, 2.0),
) -> Float[Array, "*b q m"]:
    """What it costs that a prediction answers for an object (Carion et al. 2020, equations 2, 3).

    `weights` are those of -p(label), the L1 distance of the boxes (cx, cy, w, h in [0, 1]), and
    their -GIoU. Labels below 0 count as 0.
    """
    known = jnp.maximum(labels, 0)
    said = jnp.take_along_axis(chances, known[..., None, :], axis=-1)
    distance = jnp.abs(boxes[..., :, None, :] - truth[..., None, :, :]).sum(axis=-1)
    overlap = generalized_iou(
        to_corners(boxes)[..., :, None, :], to_corners(truth)[..., None, :, :]
    )
    of_class, of_distance, of_overlap = weights
    return -of_class * said + of_distance * distance - of_overlap * overlap


def match(
    costs: Float[Array, "layers b q m"], here: Bool[Array, "layers b m"]
) -> Int[Array, "layers b m"]:
    """The prediction of each object, no two the same, by the least total cost.

    There must be as many predictions as places for objects, or more. Where there is none (`here`),
    -1. `optax.assignment.hungarian_algorithm`, for use inside jit, each device of the mesh on its
    own rows; no gradient passes.
    """
    # Places without an object cost the same everywhere, which changes nothing for the others.
    costs = jnp.where(here[..., None, :], jax.lax.stop_gradient(costs), 0.0)
    costs = jnp.clip(jnp.nan_to_num(costs, nan=_HIGHEST), -_HIGHEST, _HIGHEST)

    def one(matrix: Float[Array, "q m"]) -> Int[Array, "m"]:
        rows, columns = hungarian_algorithm(matrix)
        return jnp.zeros(matrix.shape[1], jnp.int32).at[columns].set(rows.astype(jnp.int32))

    def all_of(costs: Array) -> tuple[Array]:
        return (jax.vmap(jax.vmap(one))(costs),)

    (found,) = split_kernel(all_of, ("l b q m",), ("l b m",), (costs,), {"b": ROWS})
    return jnp.where(here, found, -1)
