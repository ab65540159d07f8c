"""Rows that are the same, told by what their cells hold, and what that leaks between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xxhash

from mmjax.data.cells import clean_text, key_of
from mmjax.data.media_cells import embedded
from mmjax.data.modalities.base import Place

MEDIA = ("image", "audio", "video", "volume", "points")
"""The modalities whose cells are files, or what files hold."""


def digest(kind: str, cells: Mapping[str, Any], place: Place) -> bytes | None:
    """What a modality's cells hold, in 16 bytes: equal for equal files, whatever they are called.

    Text counts without the blanks around it. None where the cells are all missing. Raises DataError
    for a file that cannot be read.
    """
    hashed = xxhash.xxh3_128()
    found = False
    for column, cell in cells.items():
        if kind in MEDIA:
            cell = embedded(cell, root=place.root(column), where=place.where(column))
        data = _bytes(cell)
        found = found or data is not None
        hashed.update(b"\0" if data is None else b"\1%d:" % len(data) + data)
    return hashed.digest() if found else None


def _bytes(cell: Any) -> bytes | None:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, bytes):
        return cell
    if isinstance(cell, np.ndarray):
        return f"{cell.dtype}{cell.shape}".encode() + np.ascontiguousarray(cell).tobytes()
    if isinstance(cell, (list, tuple)):
        return b"".join(b"%d:" % len(part) + part for part in (_bytes(one) or b"" for one in cell))
    if isinstance(cell, dict):
        return _bytes([one for pair in sorted(cell.items()) for one in pair])
    return clean_text(key_of(cell) or "").strip().encode("utf-8", "backslashreplace")


def same(digests: Mapping[int, bytes]) -> list[list[int]]:
    """Groups of two rows or more with one digest, each in ascending order."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row in sorted(digests):
        groups[digests[row]].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def leaks(
    groups: Sequence[Sequence[int]], split_of: Mapping[int, str], source: str = "train"
) -> dict[str, list[tuple[int, int]]]:
    """`{split: [(row of it, row of source), ...]}` of rows that are in `source` as well."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for rows in groups:
        first = next((row for row in rows if split_of.get(row) == source), None)
        if first is None:
            continue
        for row in rows:
            split = split_of.get(row)
            if split is not None and split != source:
                found[split].append((row, first))
    return dict(found)
