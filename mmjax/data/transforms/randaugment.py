"""RandAugment: a few operations drawn from fourteen, all of one strength (Cubuk et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import PIL.Image
import PIL.ImageOps

from mmjax.core.typing import Float
from mmjax.data.transforms.colour import luma
from mmjax.data.transforms.geometric import warp

Images = Float[np.ndarray, "b h w c"]
Levels = Float[np.ndarray, "b"]

MOST_OPERATIONS = 4
_STRONGEST = 30.0


def randaugment(
    images: Images, draws: Float[np.ndarray, "b 8"], operations: float = 2, magnitude: float = 9
) -> Images:
    """`operations` (4 at most) of the paper's fourteen one after another, `magnitude` of 30 strong.

    Ranges are those of AutoAugment: shear 0.3, moves 150/331 of the side, 30 degrees, enhancing by
    a factor of 0.1 to 1.9, posterizing to 4 bits, solarizing from 0; half of them go the other way.
    Colours are Pillow's `ImageEnhance` and `ImageOps` in floating point; geometry is bilinear, and
    repeats the border where the paper fills with gray.
    """
    level = min(magnitude / _STRONGEST, 1.0)
    for step in range(min(int(operations), MOST_OPERATIONS)):
        which = (draws[:, 2 * step] * len(_OPERATIONS)).astype(int)
        signed = np.where(draws[:, 2 * step + 1] < 0.5, -level, level)
        changed = images.copy()
        for index in np.unique(which):
            rows = np.flatnonzero(which == index)
            changed[rows] = _OPERATIONS[index](images[rows], signed[rows])
        images = changed
    return images


def _identity(images: Images, levels: Levels) -> Images:
    return images


def _geometric(images: Images, values: Float[np.ndarray, "b 2 3"]) -> Images:
    return warp(images, values.astype(np.float32))


def _unmoved(count: int) -> Float[np.ndarray, "b 2 3"]:
    return np.tile(np.eye(2, 3), (count, 1, 1))


def _rotate(images: Images, levels: Levels) -> Images:
    angle = np.deg2rad(30 * levels)
    matrices = _unmoved(len(images))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0] = np.sin(angle)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return _geometric(images, matrices)


def _moved(row: int, column: int, scale: float) -> Callable[[Images, Levels], Images]:
    """A shear (`column` 0 or 1) or, in shares of the side, a move (2) of one coordinate."""

    def apply(images: Images, levels: Levels) -> Images:
        side = (images.shape[2], images.shape[1])[row] if column == 2 else 1
        matrices = _unmoved(len(images))
        matrices[:, row, column] += scale * side * levels
        return _geometric(images, matrices)

    return apply


def _blended(images: Images, plain: np.ndarray, levels: Levels) -> Images:
    """Away from `plain` or towards it: it alone at a factor of 0, the picture at 1."""
    factor = (1 + 0.9 * levels).astype(np.float32)[:, None, None, None]
    return np.clip(plain + factor * (images - plain), 0, 1)


def _brightness(images: Images, levels: Levels) -> Images:
    return _blended(images, np.zeros((), np.float32), levels)


def _colour(images: Images, levels: Levels) -> Images:
    return _blended(images, _gray(images), levels)


def _contrast(images: Images, levels: Levels) -> Images:
    mean = np.stack([gray.mean() for gray in _gray(images)])
    return _blended(images, mean[:, None, None, None], levels)


def _gray(images: Images) -> Float[np.ndarray, "b h w 1"]:
    return images if images.shape[-1] == 1 else luma(images)[..., None]


def _sharpness(images: Images, levels: Levels) -> Images:
    """Pillow's SMOOTH is the mean of 3 x 3 pixels, the middle counting five times."""
    if min(images.shape[1:3]) < 3:
        return images
    smooth = images.copy()
    h, w = images.shape[1:3]
    inside = smooth[:, 1:-1, 1:-1]
    inside *= 4
    for down in range(3):
        for right in range(3):
            inside += images[:, down : h - 2 + down, right : w - 2 + right]
    inside /= 13
    return _blended(images, smooth, levels)


def _posterize(images: Images, levels: Levels) -> Images:
    dropped = 2.0 ** np.rint(4 * np.abs(levels))[:, None, None, None]
    whole = np.rint(images * 255)
    return (np.floor(whole / dropped) * dropped / 255).astype(np.float32)


def _solarize(images: Images, levels: Levels) -> Images:
    limit = 1 - np.abs(levels)[:, None, None, None]
    return np.where(images < limit, images, 1 - images)


def _autocontrast(images: Images, levels: Levels) -> Images:
    low = images.min(axis=(1, 2), keepdims=True)
    span = images.max(axis=(1, 2), keepdims=True) - low
    stretched = (images - low) / np.where(span > 0, span, 1)
    return np.where(span > 0, stretched, images)


def _equalize(images: Images, levels: Levels) -> Images:
    changed = np.empty_like(images)
    for i, image in enumerate(images):
        whole = np.rint(image * 255).clip(0, 255).astype(np.uint8)
        picture = PIL.Image.fromarray(whole[..., 0] if whole.shape[-1] == 1 else whole)
        changed[i] = np.asarray(PIL.ImageOps.equalize(picture)).reshape(whole.shape)
    return changed / 255


_OPERATIONS: tuple[Callable[[Images, Levels], Images], ...] = (
    _identity,
    _autocontrast,
    _equalize,
    _rotate,
    _solarize,
    _colour,
    _posterize,
    _contrast,
    _brightness,
    _sharpness,
    _moved(0, 1, 0.3),
    _moved(1, 0, 0.3),
    _moved(0, 2, 150 / 331),
    _moved(1, 2, 150 / 331),
)
