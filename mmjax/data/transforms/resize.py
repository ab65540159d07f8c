"""Pictures of any size to squares of one size, whole or a random part of them."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import PIL.Image

from mmjax.core.typing import Float, Shaped

Rule = Literal["crop", "squash", "pad"]
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos"]


def to_square(
    picture: PIL.Image.Image, size: int, *, rule: Rule, resample: Filter, fill: tuple[int, ...]
) -> Shaped[np.ndarray, "h w c"]:
    """uint8 [size size c], by Pillow's antialiased filters.

    "crop" takes the largest square in the middle, "squash" all of it whatever its aspect, and "pad"
    all of it in its aspect, in the middle of a square of `fill` (one value a channel).
    """
    width, height = picture.size
    method = PIL.Image.Resampling[resample.upper()]
    if (width, height) == (size, size):
        resized = picture
    elif rule == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        # The square is cut before it is scaled, so a 1 x 10000 picture never grows.
        resized = picture.resize((size, size), method, (left, top, left + side, top + side))
    elif rule == "squash":
        resized = picture.resize((size, size), method)
    else:
        scale = size / max(width, height)
        inside = max(1, round(width * scale)), max(1, round(height * scale))
        resized = PIL.Image.new(picture.mode, (size, size), fill if len(fill) > 1 else fill[0])
        place = (size - inside[0]) // 2, (size - inside[1]) // 2
        resized.paste(picture.resize(inside, method), place)
    pixels = np.asarray(resized)
    return pixels[..., None] if pixels.ndim == 2 else pixels


TRIES = 10
"""Random parts are drawn so often before a middle one is taken."""


def random_box(
    size: tuple[int, int],
    draws: Float[np.ndarray, "10 4"],
    smallest: float = 0.08,
    ratio: float = 4 / 3,
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random part of a picture of `size` (width, height).

    Its area is uniform in [`smallest`, 1] of the picture's and its aspect (width to height)
    log-uniform in [1 / `ratio`, `ratio`]; of ten tries the first that fits is taken, or else the
    largest part in the middle with an aspect in that range (Szegedy et al. 2015, as torchvision's
    RandomResizedCrop draws it).
    """
    width, height = size
    for area, aspect, left, top in draws:
        pixels = width * height * (smallest + (1 - smallest) * area)
        stretch = ratio ** (2 * aspect - 1)
        w, h = round(math.sqrt(pixels * stretch)), round(math.sqrt(pixels / stretch))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
            return x, y, x + w, y + h
    w = min(width, max(1, round(height * ratio)))
    h = min(height, max(1, round(width * ratio)))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def part_to_square(
    picture: PIL.Image.Image, size: int, box: tuple[int, int, int, int], resample: Filter
) -> Shaped[np.ndarray, "h w c"]:
    """uint8 [size size c] of the part in `box`, stretched by Pillow's antialiased filters."""
    resized = picture.resize((size, size), PIL.Image.Resampling[resample.upper()], box)
    pixels = np.asarray(resized)
    return pixels[..., None] if pixels.ndim == 2 else pixels
