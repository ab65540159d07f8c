"""Cells that name or hold media, as the bytes that they stand for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image

from mmjax.data.paths import read_media


def embedded(cell: Any, *, root: Path | None, where: str) -> Any:
    """The bytes of the file that a path names, a PNG of a Pillow picture; others as they are.

    Of a list, of each in it. An empty path is None. Raises what `read_media` raises.
    """
    if isinstance(cell, list):
        return [embedded(one, root=root, where=where) for one in cell]
    if isinstance(cell, str):
        return read_media(root, cell, where=where) if cell.strip() else None
    if isinstance(cell, PIL.Image.Image):
        file = io.BytesIO()
        cell.save(file, "PNG")
        return file.getvalue()
    return cell
