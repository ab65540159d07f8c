"""The frames of an encoded video, by FFmpeg: found by their times, and decoded where needed."""

from __future__ import annotations

import bisect
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import PIL.Image

from mmjax.core import extras
from mmjax.core.errors import DataError
from mmjax.core.typing import Shaped

_WORTH_A_SEEK = 24
"""Frames that are decoded rather than jumped over."""
_VERIFIED_DAMAGE = 0.05
_SEEN_DAMAGE = 0.25


class Stream:
    """The frames of a file's first video stream. Raises DataError as `decode_video` says."""

    def __init__(
        self,
        file: BinaryIO,
        demuxer: str,
        where: str,
        max_pixels: int,
        max_frames: int,
        deadline_seconds: float,
    ):
        self._av = extras.require("av", "video")
        self._file, self._demuxer, self._where = file, demuxer, where
        self._max_pixels = max_pixels
        self._ends = time.monotonic() + deadline_seconds
        self._deadline_seconds = deadline_seconds
        self._unit: float | None = None
        self._times, self._keys = self._timeline(max_frames)
        self.count = len(self._times)
        if not self.count:
            raise DataError(421, "the video has no frames", where=where, fix="replace the file")

    @contextlib.contextmanager
    def _container(self) -> Iterator[tuple[Any, Any]]:
        """The file from its beginning and its video stream, whose decoder keeps to the limits."""
        self._file.seek(0)
        # The demuxer is named and protocols are none, or a playlist would be followed.
        options = {"protocol_whitelist": "none"}
        try:
            with self._av.open(
                self._file, format=self._demuxer, options=options, metadata_errors="replace"
            ) as container:
                streams = [s for s in container.streams.video if not _is_cover(s)]
                if not streams:
                    raise DataError(
                        425,
                        "the file has no video stream",
                        where=self._where,
                        fix="leave the row out, or read its sound with an audio modality",
                    )
                stream = streams[0]
                if stream.codec_context is None:
                    raise DataError(
                        424,
                        "the video is encoded in a way that is not known",
                        where=self._where,
                        fix="encode it as H.264, VP9 or the like",
                    )
                self._check_pixels(stream.codec_context.width, stream.codec_context.height)
                stream.codec_context.thread_count = 1
                stream.codec_context.options = {"max_pixels": str(self._max_pixels)}
                yield container, stream
        except (self._av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
            raise self._damaged(str(error) or type(error).__name__) from error

    def _timeline(self, max_frames: int) -> tuple[list[int], list[int]]:
        """When each frame is shown, and those from which decoding may start; nothing is decoded."""
        times: list[int] = []
        keys: list[int] = []
        counted = False
        with self._container() as (container, stream):
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                shown_at = packet.pts if packet.pts is not None else packet.dts
                if shown_at is None:
                    shown_at, counted = len(times), True
                times.append(shown_at)
                keys.extend([shown_at] if packet.is_keyframe else [])
                self._check_deadline()
                if len(times) > max_frames:
                    raise DataError(
                        422,
                        f"more than {max_frames} frames",
                        where=self._where,
                        fix="cut the video or raise max_frames",
                    )
            self._unit = None if counted else float(stream.time_base)
        # Where frames have no times they are counted, and decoded from the first.
        return sorted(times), [] if counted else sorted(keys)

    def seconds(self) -> float | None:
        """From the first frame to the end of the last, which is as long as the others on average;
        None for one frame, and for frames without times.
        """
        if self._unit is None or self.count < 2:
            return None
        return (self._times[-1] - self._times[0]) * self._unit * self.count / (self.count - 1)

    def frames(self, indices: Sequence[int]) -> Iterator[PIL.Image.Image]:
        """The upright frames at these places of the order in which they are shown."""
        if not indices:
            return
        with self._container() as (container, stream):
            decoder = _Decoder(self, container, stream)
            shown_last = None
            for index in indices:
                self._jump(decoder, index)
                frame = decoder.until(self._times[index])
                # The end of a damaged file may be missing: its last frame stands for it.
                frame = shown_last if frame is None else frame
                if frame is None:
                    raise self._damaged("no frame could be decoded")
                decoder.check(_SEEN_DAMAGE)
                shown_last = frame
                yield _upright(frame)

    def _jump(self, decoder: _Decoder, index: int) -> None:
        """Moves the decoder to the last frame before `index` from which decoding may start."""
        before = bisect.bisect_right(self._keys, self._times[index]) - 1
        if before < 0:
            return
        key = self._keys[before]
        at = bisect.bisect_left(self._times, decoder.shown_at) if decoder.decoded else 0
        if bisect.bisect_left(self._times, key) - at > _WORTH_A_SEEK:
            decoder.seek(key)

    def verify(self) -> None:
        """Decodes all. Raises DataError if more than a twentieth is damaged."""
        with self._container() as (container, stream):
            decoder = _Decoder(self, container, stream)
            decoder.until(None)
            if decoder.decoded == decoder.bad:
                raise self._damaged("no frame could be decoded")
            decoder.check(_VERIFIED_DAMAGE)

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise DataError(
                422,
                f"{width} x {height} pixels a frame, over the limit of {self._max_pixels}",
                where=self._where,
                fix="shrink the video or raise max_pixels",
            )

    def _check_deadline(self) -> None:
        if time.monotonic() > self._ends:
            raise DataError(
                427,
                f"the video takes longer than {self._deadline_seconds:g} s to decode",
                where=self._where,
                fix="encode it with more key frames or smaller, or raise deadline_seconds",
            )

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            423,
            f"the video is damaged: {reason}",
            where=self._where,
            fix="replace or remove the file",
        )


class _Decoder:
    """Frames in the order in which they are shown; counts those that are damaged."""

    def __init__(self, owner: Stream, container: Any, stream: Any):
        self._owner = owner
        self._container, self._stream = container, stream
        self._frames = self._all()
        self._from: int | None = None
        self.decoded = 0
        self.bad = 0
        self.shown_at = 0

    def seek(self, key: int) -> None:
        """Goes on at the frame shown at `key`."""
        self._container.seek(key, stream=self._stream)
        self._frames = self._all()
        self._from = key

    def until(self, shown_at: int | None) -> Any | None:
        """The first frame that is shown at this time or later; the end of the video if None."""
        for frame in self._frames:
            if shown_at is not None and self.shown_at >= shown_at:
                return frame
        return None

    def check(self, most: float) -> None:
        """Raises DataError if more than this share of what was decoded is damaged."""
        if self.bad > most * self.decoded:
            raise self._owner._damaged(f"{self.bad} of {self.decoded} decoded frames")

    def _all(self) -> Iterator[Any]:
        av = self._owner._av
        packets = self._container.demux(self._stream)
        while True:
            self._owner._check_deadline()
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except (av.InvalidDataError, av.ArgumentError):
                self.decoded += 1
                self.bad += 1
                continue
            for frame in frames:
                shown_at = self.decoded if frame.pts is None else frame.pts
                if self._from is not None and shown_at < self._from:
                    # What comes before the key frame lacks what it was made from.
                    continue
                self._owner._check_pixels(frame.width, frame.height)
                self.decoded += 1
                self.bad += bool(frame.is_corrupt)
                self.shown_at = shown_at
                yield frame


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is the picture of a music file."""
    return "attached_pic" in str(stream.disposition).lower()


def _upright(frame: Any) -> PIL.Image.Image:
    pixels: Shaped[np.ndarray, "h w c"] = frame.to_ndarray(format="rgb24")
    # The file says by how much its frames are to be turned to the left.
    return PIL.Image.fromarray(np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))))
