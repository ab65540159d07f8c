"""The losses of a set of predicted boxes, each of which answers for one object or for none."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.nn.boxes import generalized_iou, iou, to_corners
from mmjax.tasks.set_matching import match, matching_costs


class Objects(NamedTuple):
    """The objects of a batch, with room for `m` in each row."""

    boxes: Float[Array, "b m 4"]
    """cx, cy, w, h, as shares of the picture."""
    labels: Int[Array, "b m"]
    here: Bool[Array, "b m"]
    """Where there is one that counts."""


class SetSums(NamedTuple):
    """Sums over the rows of a batch, of each layer of predictions."""

    cross_entropy: Float[Array, "layers"]
    class_weight: Float[Array, "layers"]
    distance: Float[Array, "layers"]
    one_minus_giou: Float[Array, "layers"]
    iou: Float[Array, "layers"]
    right: Float[Array, "layers"]
    """Objects whose prediction has the right class above all others, "no object" included."""
    row_loss: Float[Array, "layers b"]
    """Of each row, the weighted sum of its own means."""


def set_sums(
    logits: Float[Array, "layers b q c"],
    boxes: Float[Array, "layers b q 4"],
    objects: Objects,
    rows: Float[Array, "b"],
    *,
    eos: float,
    costs: tuple[float, float, float],
    weights: tuple[float, float, float],
) -> SetSums:
    """Each layer is matched by itself. The last class is "no object", whose weight is `eos`."""
    logits = logits.astype(jnp.float32)
    layers, batch, queries, classes = logits.shape
    shape = (layers, *objects.labels.shape)
    here = jnp.broadcast_to(objects.here & (rows > 0)[:, None], shape)
    labels = jnp.broadcast_to(jnp.where(objects.here, objects.labels, 0), shape)
    truth = jnp.broadcast_to(jnp.where(objects.here[..., None], objects.boxes, 0.5), (*shape, 4))
    chances = jax.nn.softmax(logits)
    found = match(matching_costs(chances, boxes, labels, truth, weights=costs), here)
    place = jnp.where(here, found, queries)

    def scatter(row: Array, at: Array, values: Array) -> Array:
        return row.at[at].set(values, mode="drop")

    nothing = jnp.full((layers, batch, queries), classes - 1)
    wanted = jax.vmap(jax.vmap(scatter))(nothing, place, labels)
    class_weights = jnp.where(wanted == classes - 1, eos, 1.0) * rows[:, None]
    log_p = jax.nn.log_softmax(logits)
    entropy = -jnp.take_along_axis(log_p, wanted[..., None], axis=-1)[..., 0] * class_weights
    at = jnp.maximum(found, 0)
    matched = jnp.take_along_axis(boxes, at[..., None], axis=-2)
    distance = jnp.where(here, jnp.abs(matched - truth).sum(axis=-1), 0.0)
    corners = to_corners(matched), to_corners(truth)
    apart = jnp.where(here, 1.0 - generalized_iou(*corners), 0.0)
    best = jnp.take_along_axis(jnp.argmax(logits, axis=-1), at, axis=-1)
    counts = jnp.maximum(here.sum(axis=-1), 1)
    of_class, of_distance, of_overlap = weights
    row_loss = (
        of_class * entropy.sum(axis=-1) / jnp.maximum(class_weights.sum(axis=-1), 1e-9)
        + (of_distance * distance + of_overlap * apart).sum(axis=-1) / counts
    )
    return SetSums(
        entropy.sum(axis=(1, 2)),
        class_weights.sum(axis=(1, 2)),
        distance.sum(axis=(1, 2)),
        apart.sum(axis=(1, 2)),
        jnp.where(here, iou(*corners), 0.0).sum(axis=(1, 2)),
        jnp.where(here, best == labels, False).sum(axis=(1, 2)).astype(jnp.float32),
        row_loss,
    )


def set_loss(
    sums: SetSums, objects: Float[Array, ""], weights: tuple[float, float, float]
) -> Float[Array, ""]:
    """DETR's: the mean cross-entropy under the weights of the classes, and L1 and 1 - GIoU summed
    over the objects and divided by their number, times `weights`; over all layers, summed.
    """
    of_class, of_distance, of_overlap = weights
    count = jnp.maximum(objects, 1.0)
    each = (
        of_class * sums.cross_entropy / jnp.maximum(sums.class_weight, 1e-9)
        + (of_distance * sums.distance + of_overlap * sums.one_minus_giou) / count
    )
    return each.sum()
