"""Files of arrays, `npy` and `npz`: without objects, and no larger than they say."""

from __future__ import annotations

import io
import zipfile
from typing import BinaryIO

import numpy as np

from mmjax.data.sources.contents import read_array

NPY, NPZ = b"\x93NUMPY", b"PK\x03\x04"
"""What the files begin with."""

_MEMBER = ".npy"


def is_array(content: bytes) -> bool:
    """Whether a file begins like one of arrays."""
    return content.startswith((NPY, NPZ))


def read(content: bytes, *, key: str | None, most: int) -> np.ndarray:
    """The array of a file; of an `npz` with several that called `key`.

    Raises ValueError for a key that is not there, more than `most` bytes, and whatever NumPy and
    zipfile raise for damage.
    """
    if content.startswith(NPY):
        return read_array(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        member = _member(archive, key)
        if member.file_size > most:
            raise ValueError(f"{member.filename} has {member.file_size} bytes, over {most}")
        return read_array(archive.read(member))


def shape_of(file: BinaryIO, *, key: str | None = None) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a file's array, by its header alone. Raises as `read` does."""
    start = file.read(len(NPY))
    file.seek(0)
    if start.startswith(NPZ):
        with zipfile.ZipFile(file) as archive, archive.open(_member(archive, key)) as member:
            return _header(member)
    return _header(file)


def _header(file) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(file)
    return shape, dtype


def _member(archive: zipfile.ZipFile, key: str | None) -> zipfile.ZipInfo:
    found = {
        info.filename.removesuffix(_MEMBER): info
        for info in archive.infolist()
        if info.filename.endswith(_MEMBER)
    }
    if key is None and len(found) == 1:
        return next(iter(found.values()))
    if key not in found:
        names = ", ".join(sorted(found)) or "none"
        raise ValueError(f"key = {key!r}, and the arrays of the file are: {names}")
    return found[key]
