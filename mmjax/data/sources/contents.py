"""Files inside archives to cells, by their extension; nothing in them is ever run."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.data.cells import clean_cell, clean_text
from mmjax.data.numbers import parse_number

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "image": ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    "text": ("txt", "text", "caption"),
    "audio": ("wav", "flac", "mp3", "ogg", "oga", "opus"),
    "video": ("mp4", "mov", "m4v", "mkv", "webm", "avi"),
    "label": ("cls",),
    "json": ("json",),
}
"""What a column is called whose members have one of these extensions, unless told otherwise."""

REFUSED = ("pickle", "pkl", "pyd", "pth", "pt", "dill", "joblib")
"""Formats that run code when they are read."""

MAX_DEPTH = 32
_MOST_VALUES = 2**28


def decode(content: bytes, extension: str, where: str) -> Any:
    """The cell in a file: text, number, JSON value, array; else its bytes, as media are.

    `txt` is UTF-8, `cls` a whole number, `json` strict JSON of at most `MAX_DEPTH` levels, `npy`
    an array without objects. Raises DataError for damage, and for formats that run code.
    """
    kind = extension.rpartition(".")[2]
    if kind in REFUSED:
        raise DataError(
            243,
            f"'.{kind}' runs code when it is read, and is refused",
            where=where,
            fix="write it as json or npy",
        )
    reader = _READERS.get(kind)
    if reader is None:
        return content
    try:
        return reader(content)
    except Exception as error:  # NumPy's reader of headers raises what Python's tokenizer does
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            243, f"damaged {kind}: {reason}", where=where, fix="write the sample again"
        ) from error


def below(cell: Any, path: str) -> Any:
    """The value under a dotted path of keys; None where there is none."""
    for key in path.split("."):
        if not isinstance(cell, Mapping) or key not in cell:
            return None
        cell = cell[key]
    return cell


def require_shallow(cell: Any, depth: int = MAX_DEPTH) -> None:
    """Raises ValueError for lists and mappings that are nested deeper."""
    if isinstance(cell, (list, dict)):
        if not depth:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        for inner in cell.values() if isinstance(cell, dict) else cell:
            require_shallow(inner, depth - 1)


def _text(content: bytes) -> str:
    return clean_text(content.decode("utf-8"))


def _whole(content: bytes) -> int:
    number = parse_number(content.decode("ascii").strip())
    if number is None or number != int(number):
        raise ValueError(f"{content[:20]!r} is no whole number")
    return int(number)


def _json(content: bytes) -> Any:
    cell = json.loads(
        content.decode("utf-8"),
        object_pairs_hook=_unique,
        parse_constant=_finite,
        parse_float=_finite,
    )
    require_shallow(cell)
    return clean_cell(cell)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no JSON")
    return number


def read_array(content: bytes) -> np.ndarray:
    """The array in a whole `npy` file, without objects; raises nearly anything for others."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"npy of version {version}")
    shape, _, dtype = read[version](file)
    # Before anything is allocated for it.
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError("its header promises other data than there is")
    if math.prod(shape) > _MOST_VALUES:
        raise ValueError(f"{math.prod(shape)} values, over {_MOST_VALUES}")
    file.seek(0)
    return np.load(file, allow_pickle=False)


_READERS: Mapping[str, Callable[[bytes], Any]] = {
    "txt": _text,
    "text": _text,
    "caption": _text,
    "cls": _whole,
    "json": _json,
    "npy": read_array,
}
