"""Reading Flax's msgpack files, one array in memory at a time, under the torch classes' names.

A file is a nested map whose arrays are msgpack extensions (as `flax.serialization` writes them). It
is walked twice: for names and shapes, then for the values, which come in the same order.
"""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import msgpack
import numpy as np

from mmjax.core.errors import WeightsError

_NDARRAY = 1
_CHUNKED = "__msgpack_chunked_array__"
_COLLECTIONS = ("params", "batch_stats")
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array of a file. Raises WeightsError if the file is damaged."""
    return {_name(leaf.path): _turned_shape(leaf) for leaf in _leaves(path)}


def read(path: Path, use: Callable[[str, np.ndarray], None]) -> None:
    """Calls `use` with every array's name, and the array with its axes in torch's order."""
    expected = [leaf for leaf in _leaves(path) for _ in range(leaf.chunks)]
    position = 0
    chunks: list[np.ndarray] = []

    def array(data: bytes) -> None:
        nonlocal position
        leaf = expected[position]
        position += 1
        _, dtype, content = msgpack.unpackb(data, raw=True)
        chunks.append(np.frombuffer(content, _dtype(dtype)))
        if len(chunks) < leaf.chunks:
            return
        whole = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        chunks.clear()
        use(_name(leaf.path), _turned(leaf.path, whole.reshape(leaf.shape)))

    _walk(path, array)


@dataclasses.dataclass(frozen=True)
class _Leaf:
    path: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: int = 1


@dataclasses.dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]


def _leaves(path: Path) -> list[_Leaf]:
    tree = _walk(path, lambda data: _Header(tuple(msgpack.unpackb(data, raw=True)[0])))
    if not isinstance(tree, Mapping):
        raise WeightsError(654, "the file holds no tree of arrays", where=str(path))
    return list(_flatten(tree, (), path))


def _flatten(tree: Mapping, above: tuple[str, ...], path: Path) -> Iterator[_Leaf]:
    if _CHUNKED in tree:
        shape = tuple(tree["shape"][str(axis)] for axis in range(len(tree["shape"])))
        yield _Leaf(above, shape, len(tree["chunks"]))
        return
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, (*above, str(key)), path)
        elif isinstance(value, _Header):
            yield _Leaf((*above, str(key)), value.shape)
        else:
            raise WeightsError(
                654, f"'{'/'.join((*above, str(key)))}' is no array", where=str(path)
            )


def _walk(path: Path, array: Callable[[bytes], Any]) -> Any:
    """The tree of a file, with `array` called on the content of each array in order."""

    def extension(code: int, data: bytes) -> Any:
        return array(data) if code == _NDARRAY else msgpack.ExtType(code, data)

    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        ):
            return msgpack.unpackb(mapped, ext_hook=extension, raw=False)
    except WeightsError:
        raise
    except (ValueError, TypeError, IndexError, msgpack.exceptions.UnpackException) as error:
        raise WeightsError(
            654,
            f"no whole msgpack file: {str(error) or type(error).__name__}",
            where=str(path),
            fix="download or save it again",
        ) from error


def _dtype(name: bytes) -> np.dtype:
    return np.dtype(jnp.bfloat16 if name == b"bfloat16" else name.decode())


def _name(path: tuple[str, ...]) -> str:
    """The torch class' name of a Flax path."""
    inner = path[1:] if path[0] in _COLLECTIONS else path
    return ".".join((*inner[:-1], _LEAVES.get(inner[-1], inner[-1])))


def _turned(path: tuple[str, ...], array: np.ndarray) -> np.ndarray:
    """Kernels [*k in out] as torch's weights [out in *k]; all else as it is."""
    if path[-1] != "kernel" or array.ndim < 2:
        return array
    return np.moveaxis(array, (-1, -2), (0, 1))


def _turned_shape(leaf: _Leaf) -> tuple[int, ...]:
    return _turned(leaf.path, np.broadcast_to(np.zeros((), np.int8), leaf.shape)).shape
