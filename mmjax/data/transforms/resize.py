"""Pictures of any size to squares of one size."""

from __future__ import annotations

from typing import Literal

import numpy as np
import PIL.Image

from mmjax.core.typing import Shaped

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
