"""Picture cells to pixels: nothing is decoded before its header says that it is small enough."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from mmjax.core.errors import DataError
from mmjax.data.cells import shown
from mmjax.data.paths import naming, read_media

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000

_ORIENTATION = 0x0112
_FIRST_ON_ITS_SIDE = 5
"""From this orientation on, pictures are stored on their side."""
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_DIRECT = ("RGB", "L", "1", "CMYK", "YCbCr", "HSV")

# The limits below are stricter than Pillow's, and are errors instead of warnings.
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)


def decode_image(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    channels: int = 3,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] = FORMATS,
    draft: int | None = None,
) -> PIL.Image.Image:
    """The upright picture of a cell, in mode RGB (`channels` 3) or L (1).

    A cell is a path below `root`, encoded bytes, a uint8 array [h w], [h w 1], [h w 3] or
    [h w 4], or a Pillow picture. EXIF orientation is applied. Alpha is composited on white, 16 bits
    a channel are scaled to 8, palettes and CMYK are converted by Pillow, and of an animation or a
    multi-page file the first frame is taken. With `draft`, a JPEG may be decoded at 1/2, 1/4 or 1/8
    of its size as long as its shortest side stays at least so long. Raises DataError, which names
    the path, for a format outside `formats`, more than `max_pixels` (by the header), and damage.
    """
    with naming(cell):
        return _decode(cell, root, where, channels, max_pixels, formats, draft)


def image_size(
    cell: Any, *, root: Path | None, where: str, formats: tuple[str, ...] = FORMATS
) -> tuple[int, int]:
    """Width and height in pixels of the upright picture of a cell, by its header alone.

    Cells and errors are those of `decode_image`.
    """
    with naming(cell):
        if isinstance(cell, np.ndarray):
            picture = _from_array(cell, where)
        elif isinstance(cell, PIL.Image.Image):
            picture = cell
        else:
            picture = _open(cell, root, where, formats)
        width, height = picture.size
        lying = picture.getexif().get(_ORIENTATION, 1) >= _FIRST_ON_ITS_SIDE
        return (height, width) if lying else (width, height)


def _decode(
    cell: Any,
    root: Path | None,
    where: str,
    channels: int,
    max_pixels: int,
    formats: tuple[str, ...],
    draft: int | None,
) -> PIL.Image.Image:
    opened = not isinstance(cell, (np.ndarray, PIL.Image.Image))
    if isinstance(cell, np.ndarray):
        picture = _from_array(cell, where)
    elif isinstance(cell, PIL.Image.Image):
        picture = cell
    else:
        picture = _open(cell, root, where, formats)
    width, height = picture.size
    if width * height > max_pixels:
        raise DataError(
            402,
            f"{width} x {height} pixels, over the limit of {max_pixels}",
            where=where,
            fix="shrink the picture or raise max_pixels",
        )
    try:
        if draft is not None and opened and picture.format in ("JPEG", "MPO"):
            picture.draft("RGB" if channels == 3 else "L", (draft, draft))
        picture.load()
        upright = _upright(picture)
        return _in_mode(upright, "RGB" if channels == 3 else "L", where)
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly anything for damaged files
        raise _damaged(error, where) from error


def _open(cell: Any, root: Path | None, where: str, formats: tuple[str, ...]) -> PIL.Image.Image:
    if isinstance(cell, str):
        content = read_media(root, cell, where=where)
    elif isinstance(cell, (bytes, bytearray)):
        content = bytes(cell)
    else:
        raise DataError(
            406,
            f"'{shown(cell)}' ({type(cell).__name__}) is no picture",
            where=where,
            fix="give a path, encoded bytes, a uint8 array or a Pillow picture",
        )
    try:
        return PIL.Image.open(io.BytesIO(content), formats=formats)
    except PIL.UnidentifiedImageError as error:
        raise DataError(
            404,
            f"no picture of an allowed format, its bytes begin with {content[:8]!r}",
            where=where,
            fix=f"allowed: {', '.join(formats)}",
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise DataError(402, str(error), where=where, fix="shrink the picture") from error
    except Exception as error:  # decoders raise nearly anything for damaged files
        raise _damaged(error, where) from error


def _damaged(error: Exception, where: str) -> DataError:
    reason = str(error) or type(error).__name__
    return DataError(
        403, f"the picture is damaged: {reason}", where=where, fix="replace or remove the file"
    )


def _from_array(array: np.ndarray, where: str) -> PIL.Image.Image:
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    plain = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
    if array.dtype != np.uint8 or not plain or array.size == 0:
        raise DataError(
            406,
            f"{array.dtype} {list(array.shape)} is no picture",
            where=where,
            fix="give uint8 [h w], [h w 3] or [h w 4]",
        )
    return PIL.Image.fromarray(array)


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    if picture.getexif().get(_ORIENTATION, 1) == 1:
        return picture
    return PIL.ImageOps.exif_transpose(picture)


def _in_mode(picture: PIL.Image.Image, mode: str, where: str) -> PIL.Image.Image:
    if picture.mode in _SIXTEEN_BITS:
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                405,
                "samples beyond 16 bits",
                where=where,
                fix="save it with 8 or 16 bits a channel",
            )
        picture = PIL.Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(white, picture)
    elif picture.mode not in (*_DIRECT, "P"):
        raise DataError(
            405, f"colour mode '{picture.mode}'", where=where, fix="save it as RGB or grayscale"
        )
    return picture if picture.mode == mode else picture.convert(mode)
