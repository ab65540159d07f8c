"""Where the pixels of a picture go: shift, flip, crop, rotate, affine."""

from __future__ import annotations

import functools

import numpy as np

from mmjax.core.typing import Float

Images = Float[np.ndarray, "b h w c"]


def shift(images: Images, draws: Float[np.ndarray, "b 2"], pixels: float) -> Images:
    """Moved by up to `pixels` whole pixels along each axis; the border is repeated.

    The padded random crop of He et al. 2016 (section 4.2), with the edge for padding.
    """
    b, h, w, c = images.shape
    most = int(pixels)
    down, right = np.floor(draws.T * (2 * most + 1)).astype(np.intp)[:, :, None] - most
    rows = (np.arange(h) - down).clip(0, h - 1)
    columns = (np.arange(w) - right).clip(0, w - 1)
    first = np.arange(b)[:, None] * (h * w)
    place = (first + rows * w)[:, :, None] + columns[:, None]
    return images.reshape(b * h * w, c).take(place, axis=0)


def flip(images: Images, draws: Float[np.ndarray, "b 1"], probability: float) -> Images:
    """Mirrored left to right with `probability`."""
    return np.where((draws < probability)[:, :, None, None], images[:, :, ::-1], images)


def crop(
    images: Images, draws: Float[np.ndarray, "b 4"], smallest: float, ratio: float = 4 / 3
) -> Images:
    """A random part, stretched (bilinear) to the whole.

    The part has `smallest` to all of the area, and an aspect between 1 / `ratio` and `ratio` times
    the picture's (Szegedy et al. 2015, section 6).
    """
    _, h, w, _ = images.shape
    area, aspect, top, left = draws.T
    side = np.sqrt(smallest + (1 - smallest) * area)
    stretch = ratio ** (aspect - 0.5)
    high, wide = np.minimum(1, side / stretch), np.minimum(1, side * stretch)
    matrices = np.zeros((len(images), 2, 3), np.float32)
    matrices[:, 0, 0], matrices[:, 1, 1] = wide, high
    # The corners of the part's pixel centres land on the corners of the whole's.
    matrices[:, 0, 2] = (1 - wide) * (2 * left - 1) * (w - 1) / 2
    matrices[:, 1, 2] = (1 - high) * (2 * top - 1) * (h - 1) / 2
    return warp(images, matrices)


def rotate(images: Images, draws: Float[np.ndarray, "b 1"], degrees: float) -> Images:
    """Turned about the centre by up to `degrees` either way; the border is repeated."""
    angle = np.deg2rad(degrees * (2 * draws[:, 0] - 1))
    matrices = np.zeros((len(images), 2, 3), np.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 1, 0] = np.sin(angle)
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return warp(images, matrices)


def affine(
    images: Images,
    draws: Float[np.ndarray, "b 7"],
    degrees: float = 0.0,
    scale: float = 0.0,
    stretch: float = 0.0,
    shear: float = 0.0,
    pixels: float = 0.0,
    flip: float = 0.0,
) -> Images:
    """Turned, scaled, stretched, sheared, moved and mirrored in one bilinear pass.

    The angle, `shear` (a tangent) and the moves are uniform in [-x, x]. The size changes by a
    factor exp(u), u in [-scale, scale], and the aspect by exp(2 u), u in [-stretch, stretch].
    `flip` is the probability of mirroring. The border is repeated.
    """
    turn, size, aspect, lean, right, down = (2 * draws[:, :6] - 1).T
    angle = np.deg2rad(degrees * turn)
    cosine, sine = np.cos(angle), np.sin(angle)
    lean = shear * lean
    wide = np.exp(scale * size + stretch * aspect) * np.where(draws[:, 6] < flip, -1, 1)
    high = np.exp(scale * size - stretch * aspect)
    matrices = np.empty((len(images), 2, 3), np.float32)
    matrices[:, 0, 0], matrices[:, 0, 1] = cosine * wide, (lean * cosine - sine) * high
    matrices[:, 1, 0], matrices[:, 1, 1] = sine * wide, (lean * sine + cosine) * high
    matrices[:, 0, 2], matrices[:, 1, 2] = pixels * right, pixels * down
    return warp(images, matrices)


def warp(images: Images, matrices: Float[np.ndarray, "b 2 3"]) -> Images:
    """The picture read at `matrix @ (x, y, 1)` for every output pixel (x, y), bilinearly.

    Coordinates count pixels from the centre of the picture; outside it the border is repeated.
    """
    b, h, w, c = images.shape
    last = np.array([[w - 1], [h - 1]], np.float32)
    place = matrices @ _grid(h, w)
    place += last / 2
    np.maximum(place, 0, out=place)
    np.minimum(place, last, out=place)
    cell = place.astype(np.int32)
    # The last cell starts one pixel before the border, so that its four corners exist.
    np.minimum(cell, np.array([[max(w - 2, 0)], [max(h - 2, 0)]], np.int32), out=cell)
    place -= cell.astype(np.float32)
    # Weights repeated over the channels keep the inner loops long; they are 3 numbers otherwise.
    x, y = np.repeat(place.transpose(1, 0, 2), c, axis=2).reshape(2, b * h * w, c)
    corner = cell[:, 1].astype(np.intp) * w + cell[:, 0]
    corner += np.arange(b)[:, None] * (h * w)
    corner = corner.ravel()
    pixels = np.ascontiguousarray(images).reshape(b * h * w, c)
    right, below = min(1, w - 1), w * min(1, h - 1)
    upper = _between(pixels, corner, corner + right, x)
    corner += below
    lower = _between(pixels, corner, corner + right, x)
    lower -= upper
    lower *= y
    upper += lower
    return upper.reshape(images.shape)


def _between(pixels: np.ndarray, first: np.ndarray, second: np.ndarray, share: np.ndarray):
    """`first` and `share` of the way to `second`."""
    # mode="clip" skips a bounds check; every index is inside.
    start = pixels.take(first, axis=0, mode="clip")
    way = pixels.take(second, axis=0, mode="clip")
    way -= start
    way *= share
    start += way
    return start


@functools.lru_cache(maxsize=16)
def _grid(h: int, w: int) -> Float[np.ndarray, "3 n"]:
    """Homogeneous coordinates (x, y, 1) of every pixel, from the centre of the picture."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    x -= (w - 1) / 2
    y -= (h - 1) / 2
    return np.stack([x.ravel(), y.ravel(), np.ones(h * w, np.float32)])
