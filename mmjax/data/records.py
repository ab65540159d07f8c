"""Rows as bytes: one MessagePack map of columns, which needs no schema and no TensorFlow."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from mmjax.core.errors import DataError
from mmjax.data.cells import clean_cell, shown
from mmjax.data.sources.contents import read_array, require_shallow

_ARRAY = 1
"""The MessagePack extension of an array in NumPy's `npy` format."""


def encode(row: Mapping[str, Any], where: str) -> bytes:
    """A row of cells: None, text, numbers, bytes, arrays, and lists and maps of those.

    Raises DataError for any other cell.
    """
    try:
        return msgpack.packb(dict(row), default=_extension)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            247,
            f"the row cannot be written: {error}",
            where=where,
            fix="leave the column out, or make it text, a number, bytes or an array",
        ) from error


def decode(record: bytes, where: str) -> dict[str, Any]:
    """What `encode` wrote. Raises DataError for anything else: nothing in it is ever run."""
    try:
        # Lengths are bounded by the record's own, before anything is allocated for them.
        row = msgpack.unpackb(record, ext_hook=_array, strict_map_key=True)
        require_shallow(row)
        if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
            raise ValueError(f"{shown(row)} is no map of columns")
    except Exception as error:  # NumPy's reader of headers raises what Python's tokenizer does
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            246, f"the record is no row: {told}", where=where, fix="write it with mmjax pack"
        ) from error
    return clean_cell(row)


def _extension(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return msgpack.ExtType(_ARRAY, file.getvalue())
    raise TypeError(f"a cell of type {type(value).__name__}")


def _array(code: int, content: bytes) -> np.ndarray:
    if code != _ARRAY:
        raise ValueError(f"an unknown extension {code}")
    return read_array(content)
