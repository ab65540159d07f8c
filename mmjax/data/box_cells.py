"""Boxes with labels, as cells hold them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import DataError
from mmjax.data.cells import clean_text, key_of, shown
from mmjax.data.listed import listed

Format = Literal["xywh", "xyxy", "cxcywh"]
"""Left, top, width and height; left, top, right and bottom; or middle, width and height."""
Outside = Literal["refuse", "clip"]
"""What boxes do that leave the picture."""

_ROUNDING = 1e-3
"""The share of a picture that a box may leave it by, from rounding; it is cut."""
_LABELS = ("label", "category", "name", "class")


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """Corners as shares of the picture's width and height, and what is there.

    `crowd` marks a box around many things that are not told apart. `area` is that of the thing
    itself in square pixels, None if nobody said.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    crowd: bool = False
    area: float | None = None


def read_boxes(
    cell: Any,
    where: str,
    *,
    form: Format,
    size: tuple[float, float] | None,
    outside: Outside = "refuse",
) -> list[Box]:
    """The boxes of a cell in their order.

    A cell is a list of `{"box": [4 numbers], "label": name}`, with "crowd" and "area" if need be,
    or such a list as JSON text. `size` is the picture's (width, height) in the unit of the boxes,
    None for shares of the picture. With `outside="clip"`, boxes are cut at its border, and those
    that lie beyond it are left out. Raises DataError, naming the place, for anything else.
    """
    found = []
    for index, one in enumerate(listed(cell, lambda: _not_boxes(cell, where))):
        box = _box(one, index, where, form, size or (1.0, 1.0), outside)
        if box is not None:
            found.append(box)
    return found


def _box(
    one: Any,
    index: int,
    where: str,
    form: Format,
    size: tuple[float, float],
    outside: Outside,
) -> Box | None:
    if not isinstance(one, Mapping):
        raise _not_boxes(one, where)
    label = next((one[name] for name in _LABELS if one.get(name) is not None), None)
    name = clean_text(key_of(label) or "").strip()
    given = one.get("box", one.get("bbox"))
    four = isinstance(given, (list, tuple, np.ndarray)) and len(given) == 4
    numbers = [_number(value) for value in given] if four else [math.nan]
    told = f"[{', '.join(map(shown, given))}]" if four else shown(given)
    if not name or not all(map(math.isfinite, numbers)):
        raise DataError(
            531,
            f"box {index}: {told} with the label {shown(label)} is no box",
            where=where,
            fix="four finite numbers, and a name",
        )
    corners = _corners(numbers, form)
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        if outside == "clip" and corners[2] >= corners[0] and corners[3] >= corners[1]:
            return None
        raise DataError(
            531,
            f"box {index} of '{name}', {told}, has no size as {form}",
            where=where,
            fix="width and height must be above 0; choose another format=, or remove the box",
        )
    shares = [value / size[i % 2] for i, value in enumerate(corners)]
    slack = math.inf if outside == "clip" else _ROUNDING
    if min(shares) < -slack or max(shares) > 1 + slack:
        raise DataError(
            531,
            f"box {index} of '{name}', {told}, leaves the picture of {size[0]:g} x {size[1]:g}",
            where=where,
            fix="choose units=pixels or units=relative as the boxes are, or outside=clip",
        )
    x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in shares)
    if x1 <= x0 or y1 <= y0:
        return None
    crowd = one.get("crowd", one.get("iscrowd"))
    area = None if one.get("area") is None else _number(one["area"])
    if area is not None and not (math.isfinite(area) and area >= 0):
        raise DataError(
            531, f"box {index} has the area {shown(one['area'])}", where=where, fix="0 or more"
        )
    return Box(x0, y0, x1, y1, name, bool(crowd), area)


def _corners(numbers: Sequence[float], form: Format) -> tuple[float, ...]:
    a, b, c, d = numbers
    if form == "xywh":
        return a, b, a + c, b + d
    if form == "cxcywh":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return a, b, c, d


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return math.nan
    return float(value)


def _not_boxes(cell: Any, where: str) -> DataError:
    return DataError(
        531,
        f"'{shown(cell)}' is no box, nor a list of some",
        where=where,
        fix='give a list of {"box": [x, y, width, height], "label": "name"}',
    )
