"""Volume cells to voxels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float
from mmjax.data import array_files, volume_files
from mmjax.data.cells import shown
from mmjax.data.paths import damage, list_media, naming, read_media
from mmjax.data.volume_files import Voxels

MAX_BYTES = 2**31
"""The largest file that is read."""
MAX_VOXELS = 2**28

_NUMBERS = "biuf"


def decode_volume(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    channels: int | None = None,
    key: str | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Voxels:
    """The voxels of a cell, float32 [d h w c] in the units of the file, and their spacing.

    A cell is a path below `root`, a file's bytes (a list of them, of a DICOM series), or an array
    [d h w] or [d h w c]. Files are npy,
    npz (of several arrays that called `key`), NIfTI (`.nii`, `.nii.gz`), DICOM, told by how they
    begin; a path may also be the folder of a DICOM series. Those of medicine are upright: depth
    from feet to head, height from front to back, width from right to left. uint8 values are in
    [0, 1], as pictures are. Raises DataError, which names the path, for what is none of these, more
    than `max_voxels`, other `channels` where they are given, values that are not finite, and
    damage; MissingExtra where the reader of a format is not installed.
    """
    with naming(cell):
        with damage(432, "the volume", where=where, fix="replace or remove the file"):
            values, spacing = _read(cell, root, where, key, max_voxels)
        return Voxels(_checked(values, channels, max_voxels, where), spacing)


def _read(cell: Any, root: Path | None, where: str, key: str | None, most: int) -> Voxels:
    if isinstance(cell, np.ndarray):
        return Voxels(cell, None)
    if isinstance(cell, str):
        files = [
            read_media(root, one, where=where, max_bytes=MAX_BYTES)
            for one in list_media(root, cell, where=where, max_bytes=MAX_BYTES)
        ]
        if len(files) != 1:
            return volume_files.read_dicom(
                [one for one in files if volume_files.is_dicom(one)], most
            )
        (content,) = files
    elif isinstance(cell, list) and cell and all(isinstance(one, bytes) for one in cell):
        return volume_files.read_dicom(cell, most)
    elif isinstance(cell, (bytes, bytearray)):
        content = bytes(cell)
    else:
        raise DataError(
            431,
            f"'{shown(cell)}' ({type(cell).__name__}) is no volume",
            where=where,
            fix="give a path, a file's bytes or an array [d h w]",
        )
    if array_files.is_array(content):
        return Voxels(array_files.read(content, key=key, most=8 * most), None)
    if volume_files.is_dicom(content):
        return volume_files.read_dicom([content], most)
    if volume_files.is_nifti(content):
        return volume_files.read_nifti(content, most)
    raise DataError(
        431,
        f"no volume of a known format, its bytes begin with {content[:8]!r}",
        where=where,
        fix="known: npy, npz, NIfTI (.nii, .nii.gz), DICOM",
    )


def _checked(
    values: np.ndarray, channels: int | None, most: int, where: str
) -> Float[np.ndarray, "d h w c"]:
    whole = values[..., None] if values.ndim == 3 else values
    if whole.ndim != 4 or not whole.size or whole.dtype.kind not in _NUMBERS:
        raise DataError(
            433,
            f"{values.dtype} {list(values.shape)} is no volume",
            where=where,
            fix="give numbers, [depth, height, width] or [depth, height, width, channels]",
        )
    if whole.size > most:
        raise DataError(
            434,
            f"{' x '.join(map(str, whole.shape))} voxels, over the limit of {most}",
            where=where,
            fix="make the volume smaller, or raise max_voxels",
        )
    if channels is not None and whole.shape[-1] != channels:
        raise DataError(
            433,
            f"the volume has {whole.shape[-1]} channels, expected {channels}",
            where=where,
            fix="give all volumes as many channels",
        )
    with np.errstate(over="ignore"):
        found = whole.astype(np.float32)
    if whole.dtype == np.uint8:
        found *= np.float32(1 / 255)
    if whole.dtype.kind == "f" and not np.isfinite(found).all():
        raise DataError(
            435,
            f"{int((~np.isfinite(found)).sum())} voxels are no finite float32",
            where=where,
            fix="fill them, or leave the row out",
        )
    return found


def find_volume(cell: Any, *, root: Path | None, where: str) -> None:
    """Raises DataError unless the file or folder of a path is there; nothing is read."""
    if isinstance(cell, (str, os.PathLike)):
        list_media(root, os.fspath(cell), where=where, max_bytes=MAX_BYTES)
