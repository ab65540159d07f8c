"""Cells of points in space to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import DataError, nearest
from mmjax.core.typing import Float
from mmjax.data import array_files, point_files
from mmjax.data.cells import shown
from mmjax.data.paths import damage, naming, read_media
from mmjax.data.point_files import Points

MAX_BYTES = 2**30
"""The largest file that is read."""
MAX_POINTS = 10_000_000

_NUMBERS = "biuf"


def decode_points(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    columns: Sequence[str] = (),
    key: str | None = None,
    max_points: int = MAX_POINTS,
) -> Float[np.ndarray, "n c"]:
    """The points of a cell, float32 [n c], a row each; of named columns only `columns`, in order.

    A cell is a path below `root`, a file's bytes, an array or a list [n c]. Files are npy, npz (of
    several arrays that called `key`), PLY, and text with numbers parted by blanks, commas or
    semicolons (`.xyz`, `.csv`), told by how they begin. Raises DataError, which names the path, for
    what is none of these, no points, more than `max_points`, columns that are not there, numbers
    that are not finite, and damage.
    """
    with naming(cell):
        fix = "replace or remove the file; known: npy, npz, ply, and text as xyz or csv"
        with damage(442, "the points", where=where, fix=fix):
            found = _read(cell, root, where, key, max_points)
        values = _chosen(found, columns, where)
        return _checked(values, max_points, where)


def _read(cell: Any, root: Path | None, where: str, key: str | None, most: int) -> Points:
    if isinstance(cell, (list, tuple)):
        cell = np.asarray(cell, np.float64)
    if isinstance(cell, np.ndarray):
        return _of_array(cell)
    if isinstance(cell, str):
        content = read_media(root, cell, where=where, max_bytes=MAX_BYTES)
    elif isinstance(cell, (bytes, bytearray)):
        content = bytes(cell)
    else:
        raise DataError(
            441,
            f"'{shown(cell)}' ({type(cell).__name__}) is no set of points",
            where=where,
            fix="give a path, a file's bytes or an array [points, columns]",
        )
    if array_files.is_array(content):
        return _of_array(array_files.read(content, key=key, most=MAX_BYTES))
    if point_files.is_ply(content):
        return point_files.read_ply(content, most)
    return point_files.read_text(content, most)


def _of_array(array: np.ndarray) -> Points:
    names = array.dtype.names
    if names is None:
        return Points(array)
    return Points(np.stack([array[name].astype(np.float64) for name in names], -1), names)


def _chosen(found: Points, columns: Sequence[str], where: str) -> np.ndarray:
    for name in columns:
        if name not in found.names:
            raise DataError(
                443,
                f"the points have no column '{name}'",
                where=where,
                fix=nearest(name, found.names) if found.names else "files without names have none",
            )
    if not columns:
        return found.values
    return found.values[:, [found.names.index(name) for name in columns]]


def _checked(values: np.ndarray, most: int, where: str) -> Float[np.ndarray, "n c"]:
    if values.ndim != 2 or not values.size or values.dtype.kind not in _NUMBERS:
        raise DataError(
            441,
            f"{values.dtype} {list(values.shape)} is no set of points",
            where=where,
            fix="give numbers, [points, columns]",
        )
    if len(values) > most:
        raise DataError(
            444,
            f"{len(values)} points, over the limit of {most}",
            where=where,
            fix="leave some out, or raise max_points",
        )
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        point, column = np.argwhere(~np.isfinite(found))[0].tolist()
        raise DataError(
            445,
            f"column {column} of point {point} is no finite float32",
            where=where,
            fix="leave such points out",
        )
    return found
