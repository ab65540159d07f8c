"""From numbers of tokens to numbers of the places of an input: words, pixels, frames, columns."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Float
from mmjax.explain import features as feature_lib
from mmjax.explain.features import IDS
from mmjax.nn.patches import patch_grid, patch_shape

_ONE_EACH = ("text", "texts", "dialogue", "packed_text", "table", "items", "points")
"""Kinds that have a token a place."""


def shape_of(batch: Batch, modality: str) -> tuple[int, ...]:
    """The places of a row of a modality, as `features.places` counts them."""
    inputs = batch.inputs[modality]
    fields = feature_lib.fields_of(batch, modality)
    if "numbers" in fields and "categories" in fields:
        return (inputs["numbers"].shape[1] + inputs["categories"].shape[1],)
    name = fields[0]
    shape = tuple(inputs[name].shape[1:])
    return (
        shape
        if name in (*IDS, "numbers", "values", "input_features", "input_values")
        else shape[:-1]
    )


def tells_apart(count: int, shape: tuple[int, ...], kind: str) -> bool:
    """Whether so many tokens can be told to be of places: of words, columns and points not fewer
    than there are.
    """
    return kind not in _ONE_EACH or count >= math.prod(shape)


def spread(
    values: Float[Array, "b n"], shape: tuple[int, ...], kind: str, encoder: Any = None
) -> Float[Array, "b ..."]:
    """Numbers of tokens at the places that the tokens are of, as an encoder lays them out.

    Tokens that are of no place (a class token, registers) come first and are left out. Pictures,
    clips and volumes are grids in row order, pictures of one row behind each other; tokens over
    time are spread evenly over it. Between the middles of patches numbers are interpolated.
    """
    rows, count = values.shape
    if kind in _ONE_EACH:
        return values[:, count - math.prod(shape) :].reshape(rows, *shape)
    if kind == "image" and len(shape) == 3:
        each = values.reshape(rows * shape[0], count // shape[0])
        return spread(each, shape[1:], kind, encoder).reshape(rows, *shape)
    grid = _grid(count, shape, kind, encoder)
    kept = values[:, count - math.prod(grid) :].reshape(rows, *grid)
    if hasattr(encoder, "time_stride"):
        kept = jnp.swapaxes(kept, 1, 2)  # bands come first among its tokens
    kept = kept.reshape(*kept.shape, *[1] * (len(shape) - len(grid)))
    whole = (*shape[: len(grid)], *[1] * (len(shape) - len(grid)))
    return jnp.broadcast_to(jax.image.resize(kept, (rows, *whole), "linear"), (rows, *shape))


def _grid(count: int, shape: tuple[int, ...], kind: str, encoder: Any) -> tuple[int, ...]:
    """How many tokens there are along each axis of a shape, or along the first one."""
    if hasattr(encoder, "time_stride") and len(shape) == 2:
        steps = (encoder.frequency_stride, encoder.time_stride)
        high, long = (
            (size - encoder.patch) // step + 1
            for size, step in zip(reversed(shape), steps, strict=True)
        )
        return (high, long)
    patch = getattr(encoder, "patch", None)
    if patch is not None:
        sizes = patch_shape(patch, 2) if kind == "video" else patch
        if kind == "video":
            sizes = (getattr(encoder, "tubelet", 1), *sizes)
        grid = patch_grid(shape, sizes)
        if 0 < math.prod(grid) <= count:
            return grid
    if kind in ("audio", "sequence", "video"):
        return (min(count, shape[0]),)
    found = [
        (_skew(grid, shape), grid)
        for extra in range(3)
        for grid in _products(count - extra, len(shape))
    ]
    return min(found)[1] if found else (1,) * len(shape)


def _products(count: int, axes: int) -> list[tuple[int, ...]]:
    """All grids of so many tokens."""
    if count < 1:
        return []
    if axes == 1:
        return [(count,)]
    firsts = [one for one in range(1, count + 1) if count % one == 0]
    return [(one, *rest) for one in firsts for rest in _products(count // one, axes - 1)]


def _skew(grid: tuple[int, ...], shape: tuple[int, ...]) -> float:
    """How far the proportions of a grid are from those of a shape."""
    logs = [math.log(size / steps) for size, steps in zip(shape, grid, strict=True)]
    return round(max(logs) - min(logs), 6)
