"""Volumes of any size to one size, and random changes of them in training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.core.typing import Float
from mmjax.data.transforms.augment import chain_of
from mmjax.data.transforms.resize import Rule

Voxels = Float[np.ndarray, "d h w c"]
Size = tuple[int, int, int]


def to_size(values: Voxels, size: Size, rule: Rule) -> Voxels:
    """float32 of `size`: "crop" takes the largest part of that shape in the middle, "squash" all of
    it out of shape, "pad" all of it in shape, amid its lowest value.
    """
    have = np.array(values.shape[:3])
    if rule == "crop":
        part = np.maximum(1, np.rint(np.array(size) * (have / size).min()).astype(int))
        values = crop_or_pad(values, _size_of(np.minimum(part, have)))
    elif rule == "pad":
        inside = np.maximum(1, np.rint(have / (have / size).max()).astype(int))
        values = resized(values, _size_of(np.minimum(inside, size)))
        return crop_or_pad(values, size)
    return resized(values, size)


def to_spacing(values: Voxels, have: Sequence[float], want: Sequence[float]) -> Voxels:
    """The volume with voxels `want` millimetres apart that were `have` apart."""
    whole = np.array(values.shape[:3]) * np.array(have) / np.array(want)
    return resized(values, _size_of(np.maximum(1, np.rint(whole).astype(int))))


def resized(values: Voxels, size: Size) -> Voxels:
    """Linear between voxels, whose centres lie half a voxel inside; averaged where it shrinks.

    As `jax.image.resize(..., "linear", antialias=True)` does it.
    """
    # What shrinks most comes first, and leaves the least to do.
    for axis in sorted(range(3), key=lambda i: size[i] / values.shape[i]):
        if size[axis] != values.shape[axis]:
            weights = _weights(values.shape[axis], size[axis])
            values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    return np.ascontiguousarray(values, np.float32)


@functools.lru_cache(maxsize=64)
def _weights(have: int, want: int) -> Float[np.ndarray, "want have"]:
    places = (np.arange(want) + 0.5) * have / want - 0.5
    apart = np.abs(places[:, None] - np.arange(have)) / max(1.0, have / want)
    weights = np.maximum(0.0, 1.0 - apart)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def crop_or_pad(values: Voxels, size: Size) -> Voxels:
    """The middle of the volume, amid its lowest value where it is smaller than `size`."""
    have = values.shape[:3]
    first = [max(0, (h - w) // 2) for h, w in zip(have, size, strict=True)]
    part = values[tuple(slice(f, f + w) for f, w in zip(first, size, strict=True))]
    if part.shape[:3] == tuple(size):
        return part
    found = np.full((*size, values.shape[3]), values.min(), values.dtype)
    before = [(w - h) // 2 for h, w in zip(part.shape[:3], size, strict=True)]
    found[tuple(slice(b, b + h) for b, h in zip(before, part.shape[:3], strict=True))] = part
    return found


def _size_of(values: np.ndarray) -> Size:
    depth, height, width = values.tolist()
    return depth, height, width


def flip(values: Voxels, rng: np.random.Generator, share: float) -> Voxels:
    """Left for right, in this share of the examples."""
    return values[:, :, ::-1] if rng.random() < share else values


def shift(values: Voxels, rng: np.random.Generator, voxels: float) -> Voxels:
    """Moved by at most so many whole voxels along each axis; its lowest value moves in."""
    most = int(voxels)
    steps = rng.integers(-most, most + 1, 3)
    padded = np.pad(values, [(most, most)] * 3 + [(0, 0)], constant_values=values.min())
    part = tuple(
        slice(most - s, most - s + n) for s, n in zip(steps, values.shape[:3], strict=True)
    )
    return padded[part]


def contrast(values: Voxels, rng: np.random.Generator, share: float) -> Voxels:
    """Stronger or weaker, by a factor that is normal around 1 with this deviation."""
    return values * np.float32(1 + share * rng.standard_normal())


def noise(values: Voxels, rng: np.random.Generator, deviation: float) -> Voxels:
    """White noise of this deviation."""
    return values + np.float32(deviation) * rng.standard_normal(values.shape, np.float32)


TRANSFORMS: Mapping[str, Callable[..., np.ndarray]] = {
    "contrast": contrast,
    "flip": flip,
    "noise": noise,
    "shift": shift,
}


class AugmentVolume:
    """The transforms of `settings`, in their order: `{"flip": 0.5, "shift": 2}`.

    They change normalised voxels. Raises ConfigError for an unknown name or strength.
    """

    def __init__(self, settings: Mapping[str, Any], *, where: str = "augment"):
        self._chain = chain_of(settings, TRANSFORMS, where)

    def __call__(self, values: Voxels, rng: np.random.Generator) -> Voxels:
        for _, change in self._chain:
            values = change(values, rng)
        return values
