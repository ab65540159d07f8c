"""Reading safetensors: views of the mapped file, so that memory holds what is placed, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import WeightsError

_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F8_E4M3": jnp.float8_e4m3fn,
    "F8_E5M2": jnp.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a file. Raises WeightsError if the file is damaged."""
    return {name: array.shape for name, array in _views(path).items()}


def read(path: Path, use: Callable[[str, np.ndarray], None]) -> None:
    """Calls `use` with every tensor's name and a read-only view of it, which it must copy."""
    for name, array in _views(path).items():
        use(name, array)


def _views(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        # The library checks the header: lengths, overlaps, and that the file is covered.
        with safe_open(str(path), framework="numpy") as file:
            names = list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            654,
            f"no whole safetensors file: {error}",
            where=str(path),
            fix="download or save it again",
        ) from error
    mapped = np.memmap(path, np.uint8, mode="r")
    length = int.from_bytes(mapped[:8].tobytes(), "little")
    header = json.loads(mapped[8 : 8 + length].tobytes())
    data = mapped[8 + length :]
    return {name: _view(data, header[name], name, path) for name in names}


def _view(data: np.ndarray, entry: dict, name: str, path: Path) -> np.ndarray:
    if entry["dtype"] not in _TYPES:
        raise WeightsError(
            654, f"'{name}' has the type {entry['dtype']}", where=str(path), fix="save it as F32"
        )
    start, stop = entry["data_offsets"]
    return data[start:stop].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
