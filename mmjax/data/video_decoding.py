"""Video cells to a few of their frames: those frames alone, within budgets of pixels and time."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image

from mmjax.core.errors import DataError
from mmjax.data import animations
from mmjax.data.cells import shown
from mmjax.data.paths import MAX_STREAMED_BYTES, naming, open_media
from mmjax.data.video_stream import Stream

FORMATS = ("MP4", "MATROSKA", "AVI", "GIF", "WEBP")
"""MP4 stands for its family (MOV, M4V, 3GP), MATROSKA for WebM as well."""
MAX_PIXELS = 8192 * 4320
MAX_FRAMES = 1_000_000
MAX_BYTES = MAX_STREAMED_BYTES
DEADLINE_SECONDS = 60.0

_DEMUXERS = {"MP4": "mov", "MATROSKA": "matroska", "AVI": "avi"}
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
Make = Callable[[PIL.Image.Image], np.ndarray]


def decode_video(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    places: Sequence[float],
    make: Make,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> list[np.ndarray]:
    """What `make` makes of one frame of each of len(`places`) equal parts of a video, in order.

    `places[i]` in [0, 1) says where in part i: 0.5 is its middle. A video of fewer frames than
    parts gives each of its frames once. Frames are upright (rotated as the file says), RGB, and may
    differ in size. A cell is a path below `root`, encoded bytes, or uint8 frames [t h w c]; GIF and
    WEBP are read by Pillow, all else by FFmpeg, in one thread and without any other file or
    address. Raises DataError, which names the path, for a format outside `formats`, no video or no
    frame in it, more pixels a frame or frames than allowed, damage, and a decoder that takes longer
    than `deadline_seconds`.
    """
    with (
        naming(cell),
        _opened(cell, root, where, formats, max_pixels, max_frames, deadline_seconds) as clip,
    ):
        return [make(frame) for frame in clip.frames(sampled(clip.count, places))]


def measure_video(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> tuple[int, float | None]:
    """How many frames a cell's video has, and how many seconds they are shown if it says so; no
    frame is decoded. Raises as `decode_video` does.
    """
    with (
        naming(cell),
        _opened(cell, root, where, formats, max_pixels, max_frames, deadline_seconds) as clip,
    ):
        return clip.count, clip.seconds()


def verify_video(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Decodes a cell's video from beginning to end. Raises as `decode_video` does, and DataError if
    more than a twentieth of the frames is damaged.
    """
    with (
        naming(cell),
        _opened(cell, root, where, formats, max_pixels, max_frames, deadline_seconds) as clip,
    ):
        clip.verify()


def sampled(count: int, places: Sequence[float]) -> list[int]:
    """The frames, of `count`, that lie at `places` of len(`places`) equal parts; all if too few."""
    if count <= len(places):
        return list(range(count))
    width = count / len(places)
    return [min(int((i + place) * width), count - 1) for i, place in enumerate(places)]


@contextlib.contextmanager
def _opened(
    cell: Any,
    root: Path | None,
    where: str,
    formats: tuple[str, ...],
    max_pixels: int,
    max_frames: int,
    deadline_seconds: float,
) -> Iterator[animations.Frames]:
    if isinstance(cell, np.ndarray):
        yield animations.FrameArray(cell, where)
        return
    with contextlib.ExitStack() as stack:
        if isinstance(cell, (bytes, bytearray)):
            file: BinaryIO = io.BytesIO(cell)
        elif isinstance(cell, str):
            file = stack.enter_context(open_media(root, cell, where=where))
        else:
            raise DataError(
                426,
                f"'{shown(cell)}' ({type(cell).__name__}) is no video",
                where=where,
                fix="give a path, encoded bytes or uint8 frames [t h w c]",
            )
        head = file.read(16)
        kind = _format_of(head)
        if kind is None or kind not in formats:
            raise DataError(
                424,
                f"no video of an allowed format, its bytes begin with {head[:8]!r}",
                where=where,
                fix=f"allowed: {', '.join(formats)}",
            )
        file.seek(0)
        if kind in _DEMUXERS:
            yield Stream(file, _DEMUXERS[kind], where, max_pixels, max_frames, deadline_seconds)
        else:
            yield animations.Animation(file, kind, where, max_pixels, max_frames)


def _format_of(head: bytes) -> str | None:
    if head[4:8] in _BOXES:
        return "MP4"
    if head[:4] == b"RIFF":
        return {b"AVI ": "AVI", b"WEBP": "WEBP"}.get(head[8:12])
    if head[:4] == b"\x1aE\xdf\xa3":
        return "MATROSKA"
    return "GIF" if head[:4] == b"GIF8" else None
