"""Volumes of CT and MR in the formats of medicine, all upright in the same way."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.core import extras
from mmjax.core.typing import Float, Shaped

EXTRA = "medical"
"""What installs the readers."""

_GZIP = b"\x1f\x8b"
_NIFTI = {
    **{size.to_bytes(4, "little"): size for size in (348, 540)},
    **{size.to_bytes(4, "big"): size for size in (348, 540)},
}
_AT_ONCE = 2**24


class Voxels(NamedTuple):
    """`values` [d h w c] in the file's units, and millimetres from one voxel to the next."""

    values: Shaped[np.ndarray, "d h w c"]
    spacing: tuple[float, float, float] | None


def is_dicom(content: bytes) -> bool:
    """Whether a file has the mark of DICOM."""
    return content[128:132] == b"DICM"


def is_nifti(content: bytes) -> bool:
    """Whether a file begins like NIfTI, packed or not."""
    if content.startswith(_GZIP):
        content = zlib.decompressobj(31).decompress(content[:4096], 4)
    return content[:4] in _NIFTI


def read_nifti(content: bytes, most: int) -> Voxels:
    """The volume of a NIfTI-1 or -2 file, `.nii` or `.nii.gz`, in the units that it scales to.

    Further dimensions are channels. Raises ValueError for more than `most` voxels, whatever
    nibabel raises for damage, and MissingExtra without nibabel.
    """
    nibabel = extras.require("nibabel", EXTRA)
    if content.startswith(_GZIP):
        content = _unpacked(content, 8 * most + _AT_ONCE)
    kind = nibabel.Nifti1Image if _NIFTI.get(content[:4]) == 348 else nibabel.Nifti2Image
    image = kind.from_bytes(content)
    shape = tuple(image.shape)
    _require_few(shape, most)
    values = np.asanyarray(image.dataobj)
    values = values.reshape(*shape[:3], *(1,) * (3 - len(shape)), -1)
    # NIfTI's axes point right, front and up; here they point left, back and up.
    directions = image.affine[:3, :3].T * (-1, -1, 1)
    spacing = np.linalg.norm(directions, axis=1)
    return upright(values, directions, spacing.tolist())


def read_dicom(files: Sequence[bytes], most: int) -> Voxels:
    """The volume of one series, a slice a file, or of one file with many frames.

    Slices are put in order by where they lie, and values are what the rescale slope and intercept
    make of them (Hounsfield units of a CT). Files without a picture are left out. Raises ValueError
    for slices of several series or sizes, and more than `most` voxels, whatever pydicom raises for
    damage, and MissingExtra without pydicom.
    """
    pydicom = extras.require("pydicom", EXTRA)
    slices = [pydicom.dcmread(io.BytesIO(content)) for content in files]
    slices = [one for one in slices if "PixelData" in one]
    if not slices:
        raise ValueError("no file has a picture")
    series = sorted({str(one.get("SeriesInstanceUID", "")) for one in slices})
    if len(series) > 1:
        raise ValueError(f"{len(series)} series ({', '.join(series[:3])}), expected one")
    sizes = sorted({(int(one.Rows), int(one.Columns)) for one in slices})
    if len(sizes) > 1:
        raise ValueError(f"slices of {len(sizes)} sizes, {sizes[0]} and {sizes[-1]}")
    _require_few((len(slices), *sizes[0], int(slices[0].get("NumberOfFrames") or 1)), most)
    if len(slices) == 1:
        return _frames(slices[0])
    first = slices[0]
    across = np.array(first.get("ImageOrientationPatient") or (1, 0, 0, 0, 1, 0), np.float64)
    right, down = across[:3], across[3:]
    through = np.cross(right, down)
    if all("ImagePositionPatient" in one for one in slices):
        places = [float(np.dot(through, np.float64(one.ImagePositionPatient))) for one in slices]
    else:
        places = [float(one.get("InstanceNumber", 0)) for one in slices]
    order = np.argsort(places, kind="stable")
    values = np.stack([_scaled(slices[i]) for i in order])
    values = values[..., None] if values.ndim == 3 else values
    step = float(np.median(np.diff(np.sort(places)))) or 1.0
    rows, columns = map(float, first.get("PixelSpacing") or (1.0, 1.0))
    return upright(values, np.stack([through, down, right]), [step, rows, columns])


def upright(
    values: Shaped[np.ndarray, "i j k c"],
    directions: Float[np.ndarray, "3 3"],
    spacing: Sequence[float],
) -> Voxels:
    """The volume with depth from feet to head, height from front to back, width from right to left.

    `directions` say where each axis of the array points, in DICOM's coordinates (left, back, up). A
    volume that lies aslant is turned to the nearest axes.
    """
    near = np.abs(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    order = [0, 0, 0]
    for _ in range(3):
        axis, world = np.unravel_index(int(near.argmax()), near.shape)
        order[2 - int(world)] = int(axis)
        near[axis, :] = near[:, world] = -1
    flipped = tuple(i for i, axis in enumerate(order) if directions[axis, 2 - i] < 0)
    found = np.flip(values.transpose(*order, 3), flipped)
    depth, height, width = (float(spacing[axis]) for axis in order)
    return Voxels(found, (depth, height, width))


def _frames(one: Any) -> Voxels:
    """One file: its frames as they are, or its one slice."""
    values = _scaled(one)
    colours = int(one.get("SamplesPerPixel", 1))
    size = (int(one.Rows), int(one.Columns))
    return Voxels(values.reshape(-1, *size, colours), None)


def _scaled(one: Any) -> np.ndarray:
    slope, intercept = float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))
    return one.pixel_array * np.float32(slope) + np.float32(intercept)


def _unpacked(content: bytes, most: int) -> bytes:
    unpack = zlib.decompressobj(31)
    found = unpack.decompress(content, most)
    if not unpack.eof:
        rest = "it is cut off" if len(found) < most else f"it has more than {most} bytes"
        raise ValueError(f"the packed file does not end: {rest}")
    return found


def _require_few(shape: Sequence[int], most: int) -> None:
    if int(np.prod(shape, dtype=np.int64)) > most:
        raise ValueError(f"{' x '.join(map(str, shape))} voxels, over the limit of {most}")
