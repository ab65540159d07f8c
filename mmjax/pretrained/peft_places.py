"""Where the layers of a family's weights are among ours, number by number, for adapters of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmjax.adapt.layers import Layer
from mmjax.pretrained.family import Family
from mmjax.pretrained.match import Shapes, locate
from mmjax.pretrained.rules import Leaf


@dataclasses.dataclass(frozen=True)
class Place:
    """A layer of theirs that is one of ours, or a part of one."""

    path: str
    layer: int | None
    """Which of our stacked layers it is."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    """The axes of our weight."""
    of_input: np.ndarray
    """Where each of our inputs stands among theirs, of a convolution channels and places."""
    of_output: np.ndarray
    theirs: tuple[int, int]
    """How many inputs and outputs theirs has."""
    turned: bool
    """Whether theirs is stored [in out], as GPT-2's are."""
    layer_here: Layer
    window: tuple[int, ...] | None = None
    """Of a convolution of theirs, its channels and sizes."""
    table: bool = False
    """Whether theirs is an embedding."""


def places_of(family: Family, config: Any, shapes: Shapes) -> dict[str, list[Place]]:
    """Their layers by name, and where they are here."""
    leaves = [
        leaf
        for leaf in family.table(config)
        if leaf.ours.endswith(("/kernel", "/embedding")) and leaf.theirs.endswith(".weight")
    ]
    ends: dict[str, int] = {}
    for leaf in leaves:
        if leaf.part is not None:
            ends[leaf.theirs] = max(ends.get(leaf.theirs, 0), leaf.part[1])
    found: dict[str, list[Place]] = {}
    for leaf in leaves:
        path, layer = locate(leaf.ours, shapes)
        if path is None:
            continue
        shape = shapes[path] if layer is None else shapes[path][1:]
        place = next(_geometry(leaf, path, layer, shape, ends.get(leaf.theirs)), None)
        if place is not None:
            found.setdefault(leaf.theirs.removesuffix(".weight"), []).append(place)
    return found


def _geometry(
    leaf: Leaf, path: str, layer: int | None, shape: tuple[int, ...], end: int | None
) -> Iterator[Place]:
    """What of theirs each number of our weight is, where both are matrices, turned or not.

    A convolution of theirs is the matrix [out in*places].
    """
    theirs = list(leaf.shape_of_theirs(shape))
    if end is not None:
        theirs[leaf.axis] = end
    if len(theirs) < 2 or len(shape) < 2:
        return
    where, _, kind = path.removeprefix("params/").rpartition("/")
    table, window = kind == "embedding", tuple(theirs[1:]) if len(theirs) > 2 else None
    width = math.prod(theirs[1:])
    numbers = leaf.take(np.arange(theirs[0] * width).reshape(theirs))
    rows, columns = numbers // width, numbers % width
    ways = ((False, columns, rows), (True, rows, columns))
    for turned, given, made in ways[1:] if table else ways[:1] if window else ways:
        for count in range(1, len(shape)):
            inputs, outputs = shape[:count], shape[count:]
            size = int(np.prod(inputs))
            i, o = given.reshape(size, -1), made.reshape(size, -1)
            if (i == i[:, :1]).all() and (o == o[:1]).all():
                sizes = (theirs[0], width) if turned else (width, theirs[0])
                here: Layer = "embedding" if table else "dense"
                if window is not None and len(shape) == len(theirs):
                    here = "convolution"
                axes = inputs, outputs, i[:, 0], o[0]
                turned = turned and not table
                yield Place(where, layer, *axes, sizes, turned, here, window, table)
