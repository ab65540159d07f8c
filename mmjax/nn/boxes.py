"""Boxes in pictures: their forms, and how far two of them overlap."""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.core.typing import Array, Float

_LEAST = 1e-9


def to_corners(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Middle, width and height (cx, cy, w, h) as corners (x0, y0, x1, y1)."""
    middle, size = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([middle - size / 2, middle + size / 2], axis=-1)


def from_corners(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """The inverse of `to_corners`."""
    first, last = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(first + last) / 2, last - first], axis=-1)


def area(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Of boxes by their corners; 0 where the corners are in the wrong order."""
    return jnp.prod(jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)


def iou(a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]) -> Float[Array, "..."]:
    """Intersection over union of boxes by their corners, which broadcast; 0 of two empty ones."""
    inside, together = _overlap(a, b)
    return inside / jnp.maximum(together, _LEAST)


def generalized_iou(a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]) -> Float[Array, "..."]:
    """Intersection over union, less the share of the smallest box around both that neither covers.

    In [-1, 1], 1 of equal boxes (Rezatofighi et al. 2019, algorithm 1). Boxes are corners, which
    broadcast; the gradient with respect to both is finite for empty boxes too.
    """
    inside, together = _overlap(a, b)
    first = jnp.minimum(a[..., :2], b[..., :2])
    last = jnp.maximum(a[..., 2:], b[..., 2:])
    around = area(jnp.concatenate([first, last], axis=-1))
    covered = inside / jnp.maximum(together, _LEAST)
    return covered - (around - together) / jnp.maximum(around, _LEAST)


def _overlap(
    a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Areas of the intersection and of the union."""
    first = jnp.maximum(a[..., :2], b[..., :2])
    last = jnp.minimum(a[..., 2:], b[..., 2:])
    inside = jnp.prod(jnp.maximum(last - first, 0.0), axis=-1)
    return inside, area(a) + area(b) - inside
