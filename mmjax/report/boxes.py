"""Boxes drawn onto pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

_LEAST = 256
"""Pictures with a shorter side are enlarged in whole steps, so that lines and words fit."""
FOUND, TRUE = (255, 122, 0), (0, 200, 255)
"""The colours of what was predicted and of what is true."""
_DASH = 6


def draw_boxes(
    picture: np.ndarray,
    found: Sequence[Mapping[str, Any]],
    true: Sequence[Mapping[str, Any]] = (),
) -> np.ndarray:
    """The picture, uint8 [h w], [h w 1], [h w 3] or [h w 4], with boxes: uint8 [h' w' 3].

    A box is `{"box": [x0, y0, x1, y1], "label"}`, as shares of the picture's width and height, and
    "score" where there is one. Those `found` have solid lines and their label above, the `true`
    ones dashed lines and their label below.
    """
    plain = picture[..., 0] if picture.shape[2:] == (1,) else picture
    image = PIL.Image.fromarray(np.ascontiguousarray(plain)).convert("RGB")
    times = max(1, -(-_LEAST // min(image.size)))
    image = image.resize((image.width * times, image.height * times), PIL.Image.Resampling.NEAREST)
    draw = PIL.ImageDraw.Draw(image)
    for one in true:
        corners = _corners(one, image.size)
        _dashed(draw, corners)
        _tag(draw, (corners[0], corners[3]), str(one["label"]), TRUE, image.size)
    for one in found:
        corners = _corners(one, image.size)
        draw.rectangle(corners, outline=FOUND, width=2)
        score = f" {one['score']:.2f}" if one.get("score") is not None else ""
        _tag(draw, (corners[0], corners[1] - 12), f"{one['label']}{score}", FOUND, image.size)
    return np.asarray(image)


def _corners(one: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    x0, y0, x1, y1 = (min(max(float(value), 0.0), 1.0) for value in one["box"])
    left, top = round(x0 * (width - 1)), round(y0 * (height - 1))
    return left, top, max(round(x1 * (width - 1)), left), max(round(y1 * (height - 1)), top)


def _dashed(draw: PIL.ImageDraw.ImageDraw, corners: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = corners
    for x in range(x0, x1 + 1, 2 * _DASH):
        for y in (y0, y1):
            draw.line((x, y, min(x + _DASH, x1), y), fill=TRUE, width=2)
    for y in range(y0, y1 + 1, 2 * _DASH):
        for x in (x0, x1):
            draw.line((x, y, x, min(y + _DASH, y1)), fill=TRUE, width=2)


def _tag(
    draw: PIL.ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    colour: tuple[int, int, int],
    size: tuple[int, int],
) -> None:
    # The bundled font has Latin letters only; what it lacks is drawn as a box.
    left, top, right, bottom = draw.textbbox((0, 0), text)
    width, height = int(right - left) + 4, int(bottom - top) + 4
    x = min(max(place[0], 0), max(size[0] - width, 0))
    y = min(max(place[1], 0), max(size[1] - height, 0))
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0))
