"""Arrays from files to devices: each is copied once, straight into the shards that hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mmjax.core.typing import Array
from mmjax.pretrained.match import Destination

Index = tuple[slice, ...]


class Placement:
    """One of our arrays while it is filled: a buffer for each shard that this process holds.

    Replicas share a buffer. `sources` is how many leaves it is made of.
    """

    def __init__(self, target: jax.ShapeDtypeStruct, sources: int):
        self._target = target
        self._sharding: Any = target.sharding
        self._buffers: dict[tuple, tuple[Index, np.ndarray]] = {}
        self._left = sources

    def write(self, array: np.ndarray, layer: int | None) -> bool:
        """Copies a leaf in; True when it was the last."""
        if not self._buffers:
            self._allocate()
        for index, buffer in self._buffers.values():
            if layer is None:
                buffer[...] = array[index]
                continue
            layers = range(*index[0].indices(self._target.shape[0]))
            if layer in layers:
                buffer[layers.index(layer)] = array[index[1:]]
        self._left -= 1
        return not self._left

    def finish(self) -> Array:
        """The array on its devices; each buffer is given up as soon as its shards hold it."""
        if self._sharding is None:
            ((_, buffer),) = self._buffers.values()
            self._buffers.clear()
            return jax.device_put(buffer)
        shape = self._target.shape
        shards = {}
        for key in list(self._buffers):
            _, buffer = self._buffers.pop(key)
            devices = [d for d, index in self._indices().items() if _key(index, shape) == key]
            for device in devices:
                shards[device] = jax.block_until_ready(jax.device_put(buffer, device))
        arrays = [shards[device] for device in self._indices()]
        return jax.make_array_from_single_device_arrays(shape, self._sharding, arrays)

    def _indices(self) -> Mapping[Any, Index]:
        return self._sharding.addressable_devices_indices_map(self._target.shape)

    def _allocate(self) -> None:
        shape = self._target.shape
        whole: Index = (slice(None),) * len(shape)
        indices = [whole] if self._sharding is None else list(self._indices().values())
        for index in indices:
            key = _key(index, shape)
            if key not in self._buffers:
                sizes = [stop - start for start, stop in key]
                self._buffers[key] = (index, np.empty(sizes, self._target.dtype))


def _key(index: Index, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(one.indices(size)[:2] for one, size in zip(index, shape, strict=True))


class Placements:
    """All arrays of a module while a folder is read, file by file."""

    def __init__(
        self,
        targets: Mapping[str, jax.ShapeDtypeStruct],
        destinations: Mapping[str, tuple[Destination, ...]],
    ):
        self._destinations = destinations
        sources = dict.fromkeys(targets, 0)
        for several in destinations.values():
            for one in several:
                sources[one.path] += 1
        self._open = {path: Placement(targets[path], sources[path]) for path in targets}
        self.arrays: dict[str, Array] = {}

    def use(self, name: str, array: np.ndarray) -> None:
        """Takes one weight of the files; those without a destination are passed over."""
        for one in self._destinations.get(name, ()):
            if self._open[one.path].write(one.leaf.take(array), one.layer):
                self.arrays[one.path] = self._open.pop(one.path).finish()
