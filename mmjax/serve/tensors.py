"""Tensors of the Open Inference Protocol, as JSON and as bytes, to arrays and back."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.serve.errors import ServeError

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
"""The protocol's numbers; texts and files are BYTES."""

_MOST_AXES = 8
_MOST_ELEMENTS = 1 << 31


def datatype_of(dtype: str) -> str:
    """The protocol's name of an array's type."""
    found = np.dtype(dtype) if dtype != "bfloat16" else np.dtype(np.float32)
    names = {known.str: name for name, known in DTYPES.items()}
    return names.get(found.newbyteorder("<").str, "BYTES")


def shape_of(shape: Any, where: str) -> tuple[int, ...]:
    """A tensor's declared shape, checked; its first axis is the items of the request."""
    plain = isinstance(shape, list) and 0 < len(shape) <= _MOST_AXES
    if not plain or not all(type(size) is int and size >= 0 for size in shape):
        raise ServeError(801, "the shape is no list of sizes", where=where, fix="such as [1, 3]")
    if math.prod(shape) > _MOST_ELEMENTS:
        raise ServeError(801, f"the shape {shape} is too large", where=where)
    if not math.prod(shape):
        raise ServeError(801, f"the shape {shape} has no elements", where=where)
    return tuple(shape)


def from_json(data: Any, datatype: Any, shape: Sequence[int], where: str) -> np.ndarray:
    """An array of a tensor's `data`, flat or nested; BYTES give an array of strings.

    Raises ServeError 801 for another number of elements than the shape has, for elements of another
    type or beyond it, and for numbers that are not finite.
    """
    if not isinstance(data, list):
        raise ServeError(801, "data is no list", where=where, fix="give its elements row by row")
    flat = _flat(data, len(shape), where)
    if len(flat) != math.prod(shape):
        said = f"{len(flat)} elements, and its shape {list(shape)} has {math.prod(shape)}"
        raise ServeError(801, said, where=where, fix="give as many as the shape has")
    if datatype == "BYTES":
        _all_of((str,), flat, datatype, where)
        return np.array(flat, object).reshape(shape)
    dtype = _dtype(datatype, where)
    kinds = {"b": (bool,), "f": (int, float)}.get(dtype.kind, (int,))
    _all_of(kinds, flat, str(datatype), where)
    try:
        with np.errstate(over="ignore"):
            array = np.array(flat, dtype).reshape(shape)
    except (OverflowError, ValueError) as error:
        raise ServeError(801, f"an element is beyond {datatype}", where=where) from error
    return _finite(array, where)


def from_bytes(data: memoryview, datatype: Any, shape: Sequence[int], where: str) -> np.ndarray:
    """As `from_json`, of the protocol's binary form; BYTES give an array of bytes."""
    if datatype == "BYTES":
        found = np.empty(math.prod(shape), object)
        found[:] = _elements(data, len(found), where)
        return found.reshape(shape)
    dtype = _dtype(datatype, where)
    if len(data) != math.prod(shape) * dtype.itemsize:
        said = f"{len(data)} bytes, and {datatype} {list(shape)} has"
        raise ServeError(801, f"{said} {math.prod(shape) * dtype.itemsize}", where=where)
    array = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype).reshape(shape)
    return array.astype(bool) if dtype.kind == "b" else _finite(array, where)


def to_json(array: np.ndarray) -> list[Any]:
    """The elements row by row. JSON has no infinity: the largest finite number stands for it."""
    if array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=0.0)
    return array.reshape(-1).tolist()


def to_bytes(array: np.ndarray) -> bytes:
    """The binary form: little-endian numbers, or each text behind its length."""
    if array.dtype.kind in "OU":
        texts = [str(one).encode() for one in array.reshape(-1)]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """One array of several items; those that are shorter along an axis get zeros at its end."""
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    most = [max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
    found = np.zeros((len(arrays), *most), arrays[0].dtype)
    for row, array in zip(found, arrays, strict=True):
        row[tuple(map(slice, array.shape))] = array
    return found


def binary_size(parameters: Mapping[str, Any], where: str) -> int | None:
    """How many bytes behind the JSON are a tensor's; None if its data are in the JSON."""
    size = parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise ServeError(801, "binary_data_size is no size", where=where, fix="a number of bytes")
    return size


def _elements(data: memoryview, count: int, where: str) -> list[bytes]:
    found: list[bytes] = []
    place = 0
    while place + 4 <= len(data) and len(found) < count:
        (size,) = struct.unpack_from("<I", data, place)
        place += 4 + size
        if place > len(data):
            break
        found.append(bytes(data[place - size : place]))
    if len(found) != count or place != len(data):
        said = "the binary data are not as many elements as the shape has"
        raise ServeError(801, said, where=where, fix="each element behind its length, uint32")
    return found


def _flat(data: list[Any], axes: int, where: str) -> list[Any]:
    for _ in range(axes - 1):
        nested = [isinstance(one, list) for one in data]
        if not any(nested):
            break
        if not all(nested):
            raise ServeError(801, "data are lists and elements", where=where)
        data = list(itertools.chain.from_iterable(data))
    return data


def _all_of(kinds: tuple[type, ...], flat: Iterable[Any], datatype: str, where: str) -> None:
    others = set(map(type, flat)) - set(kinds)
    if others:
        name = sorted(other.__name__ for other in others)[0]
        raise ServeError(801, f"an element of type {name} is no {datatype}", where=where)


def _dtype(datatype: Any, where: str) -> np.dtype:
    if not isinstance(datatype, str) or datatype not in DTYPES:
        fix = f"valid: BYTES, {', '.join(DTYPES)}"
        raise ServeError(801, f"datatype {str(datatype)[:40]!r}", where=where, fix=fix)
    return DTYPES[datatype]


def _finite(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ServeError(801, "an element is not finite", where=where, fix="leave it out")
    return array
