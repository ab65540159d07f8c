"""How parameters are stored: as they are, as bfloat16, or matrices as int8 with scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Array, Float, Int

VARIANTS = ("f32", "bf16", "int8")
SCALE = "@scale"
"""Behind the name of a tensor, that of its scales."""

_LEAST = 1024
"""Smaller tensors stay as they are: their scales would weigh as much as is saved."""

Flat = dict[str, Any]
"""Arrays by path, such as `params/fusion/output/kernel`."""


def flatten(tree: Mapping[str, Any], start: str = "") -> Flat:
    """Nested dictionaries of arrays by path."""
    found: Flat = {}
    for name, value in tree.items():
        path = f"{start}/{name}" if start else str(name)
        found |= flatten(value, path) if isinstance(value, Mapping) else {path: value}
    return found


def stored(flat: Mapping[str, np.ndarray], variant: str) -> dict[str, np.ndarray]:
    """What a variant keeps of float arrays; others stay as they are.

    Raises ConfigError for an unknown variant.
    """
    if variant not in VARIANTS:
        raise ConfigError(106, f"no variant '{variant}'", fix=nearest(variant, VARIANTS))
    found: dict[str, np.ndarray] = {}
    for path, value in flat.items():
        array = np.ascontiguousarray(value)
        floats = jnp.issubdtype(array.dtype, jnp.floating)
        if variant == "bf16" and floats and array.dtype.itemsize > 2:
            found[path] = array.astype(jnp.bfloat16)
        elif variant == "int8" and floats and array.ndim > 1 and array.size >= _LEAST:
            found[path], found[path + SCALE] = quantise(array, _kept_axes(path, array.ndim))
        else:
            found[path] = array
    return found


def restored(flat: Mapping[str, Any], dtypes: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of `stored` in the types that they had (`dtypes`), traceable."""
    found = {}
    for path, value in flat.items():
        if path.endswith(SCALE):
            continue
        scale = flat.get(path + SCALE)
        whole = value if scale is None else value.astype(jnp.float32) * scale
        found[path] = whole.astype(dtypes[path])
    return found


def quantise(
    array: Float[np.ndarray, "..."], kept: tuple[int, ...]
) -> tuple[Int[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """int8 values in [-127, 127] and float32 scales, symmetric, one a place on the axes `kept`.

    value = round(array / scale), scale = max |array| / 127: off by half a scale at the most. A
    channel of zeros has the scale 1.
    """
    wide = np.asarray(array, np.float32)
    others = tuple(axis for axis in range(wide.ndim) if axis not in kept)
    largest = np.abs(wide).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)
    return np.rint(wide / scale).astype(np.int8), scale


def _kept_axes(path: str, ndim: int) -> tuple[int, ...]:
    """A scale a row of an embedding, an output of a kernel, and of each scanned layer its own."""
    own = 0 if path.endswith("embedding") else ndim - 1
    layers = (0,) if "/layers/" in path else ()
    return tuple(sorted({*layers, own if not layers or own else 1}))


def as_arrays(flat: Mapping[str, np.ndarray]) -> dict[str, Array]:
    """On the default device."""
    return {path: jnp.asarray(value) for path, value in flat.items()}
