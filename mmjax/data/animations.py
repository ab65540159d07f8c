"""Frames that need no video decoder: arrays of them, and animated pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

import numpy as np
import PIL.Image

from mmjax.core.errors import DataError
from mmjax.core.typing import Shaped


class Frames(Protocol):
    """What a video is read from."""

    count: int

    def frames(self, indices: Sequence[int]) -> Iterator[PIL.Image.Image]:
        """The frames at ascending places, upright and RGB."""

    def seconds(self) -> float | None:
        """How long all frames together are shown; None if nothing says so."""

    def verify(self) -> None:
        """Decodes all. Raises DataError for damage."""


class FrameArray:
    """uint8 frames [t h w c] of 1, 3 or 4 channels."""

    def __init__(self, array: Shaped[np.ndarray, "t h w c"], where: str):
        plain = array.ndim == 4 and array.shape[-1] in (1, 3, 4) and array.dtype == np.uint8
        if not plain or (array.size == 0 and len(array)):
            raise DataError(
                426,
                f"{array.dtype} {list(array.shape)} is no video",
                where=where,
                fix="give uint8 frames [t h w c]",
            )
        if not len(array):
            raise DataError(421, "the video has no frames", where=where, fix="leave the row out")
        self._array = array
        self.count = len(array)

    def frames(self, indices: Sequence[int]) -> Iterator[PIL.Image.Image]:
        for index in indices:
            frame = self._array[index]
            yield _rgb(PIL.Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame))

    def seconds(self) -> float | None:
        """An array does not say."""
        return None

    def verify(self) -> None:
        """Nothing in an array can be damaged."""


class Animation:
    """A GIF or WebP, by Pillow; transparency is composited on white."""

    def __init__(self, file: BinaryIO, kind: str, where: str, max_pixels: int, max_frames: int):
        self._where = where
        try:
            self._picture = PIL.Image.open(file, formats=(kind,))
            self.count = int(getattr(self._picture, "n_frames", 1))
        except Exception as error:  # decoders raise nearly anything for damaged files
            raise self._damaged(error) from error
        width, height = self._picture.size
        if width * height > max_pixels or self.count > max_frames:
            raise DataError(
                422,
                f"{self.count} frames of {width} x {height} pixels, over the limit of "
                f"{max_frames} of {max_pixels}",
                where=where,
                fix="cut or shrink it, or raise max_frames or max_pixels",
            )

    def frames(self, indices: Sequence[int]) -> Iterator[PIL.Image.Image]:
        for index in indices:
            try:
                self._picture.seek(index)
                frame = _rgb(self._picture)
            except Exception as error:  # decoders raise nearly anything for damaged files
                raise self._damaged(error) from error
            yield frame

    def seconds(self) -> float | None:
        total = 0.0
        try:
            for index in range(self.count):
                self._picture.seek(index)
                total += float(self._picture.info.get("duration", 0)) / 1000
        except Exception as error:  # decoders raise nearly anything for damaged files
            raise self._damaged(error) from error
        return total or None

    def verify(self) -> None:
        for _ in self.frames(range(self.count)):
            pass

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            423,
            f"the animation is damaged: {str(error) or type(error).__name__}",
            where=self._where,
            fix="replace or remove the file",
        )


def _rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, "white")
        picture = PIL.Image.alpha_composite(white, picture)
    return picture.convert("RGB")
