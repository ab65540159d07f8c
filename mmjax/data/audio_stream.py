"""Sounds as streams of mono samples: files of an allowed format, and arrays."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from mmjax.core import extras
from mmjax.core.errors import DataError
from mmjax.core.typing import Float, Shaped

FORMATS = ("WAV", "FLAC", "OGG", "MP3")
RATES = (1_000, 384_000)
"""The lowest and the highest sample rate that is taken for one, in Hz."""

_LOUDEST = 1e6
_BLOCK = 2**18
_MOST_FRAMES = 2**62
_MOST_CHUNKS = 1000
_MOSTLY = 0.9
_UNKNOWN_BYTES = 0x7FFF0000
"""Data sizes from here on are what recorders write that do not know yet."""
_SAME = {"WAVEX": "WAV", "RF64": "WAV", "MPEG": "MP3"}


class Extent(NamedTuple):
    """How long a sound is, by its header: `frames` at `rate` Hz; None where it does not say."""

    frames: int | None
    rate: int


class Samples:
    """A sound that is an array already."""

    def __init__(self, array: Shaped[np.ndarray, "..."], rate: int, where: str):
        if array.ndim not in (1, 2) or array.dtype.kind not in "fiu":
            raise DataError(
                416,
                f"{array.dtype} {list(array.shape)} is no sound",
                where=where,
                fix="give floats or integers, [samples] or [samples channels]",
            )
        self.extent = Extent(len(array) if array.size else 0, rate)
        self._array, self._where = array, where
        _check(self.extent, where)

    def verify(self) -> None:
        """Raises DataError if any sample is none."""
        self.read(len(self._array), 0)

    def read(self, wanted: int, place: float) -> Float[np.ndarray, "s"]:
        """At most so many mono samples, from `place` of what is left over."""
        start = int(place * max(0, len(self._array) - wanted))
        return self._mono(start, start + wanted)

    def blocks(self) -> Iterator[Float[np.ndarray, "s"]]:
        """All mono samples, piece by piece."""
        for start in range(0, len(self._array), _BLOCK):
            yield self._mono(start, start + _BLOCK)

    def _mono(self, start: int, stop: int) -> Float[np.ndarray, "s"]:
        part = self._array[start:stop]
        if part.dtype.kind in "iu":
            limits = np.iinfo(part.dtype)
            middle = 0 if limits.min < 0 else limits.max // 2 + 1
            part = (part.astype(np.float64) - middle) / (limits.max - middle + 1)
        return _mono(part.reshape(len(part), -1), self._where)


class SoundFile:
    """A sound file; `extent` is what its header says."""

    def __init__(self, file: BinaryIO, where: str, formats: tuple[str, ...]):
        soundfile = extras.require("soundfile", "audio")
        self._where = where
        self._damage = (soundfile.LibsndfileError, RuntimeError, OverflowError, MemoryError)
        head = file.read(12)
        _check_format(_format_of(head), head, where, formats)
        _check_whole(file, head, where)
        file.seek(0)
        try:
            self._sound = soundfile.SoundFile(file)
        except self._damage as error:
            raise self._damaged(error) from error
        try:
            # A decoder may recognise what the first bytes do not show.
            kind = _SAME.get(self._sound.format, self._sound.format)
            _check_format(kind, head, where, formats)
            frames = self._sound.frames
            self.extent = Extent(
                frames if frames < _MOST_FRAMES else None, int(self._sound.samplerate)
            )
            _check(self.extent, where)
        except BaseException:
            self._sound.close()
            raise

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._sound.close()

    def verify(self) -> None:
        """Decodes all of it. Raises DataError if any is damaged."""
        for _ in self.blocks():
            pass

    def blocks(self) -> Iterator[Float[np.ndarray, "s"]]:
        """All mono samples, piece by piece. Raises DataError where they are damaged."""
        yield from self._blocks(0, self.extent.frames or _MOST_FRAMES)

    def read(self, wanted: int, place: float) -> Float[np.ndarray, "s"]:
        """At most so many mono samples, from `place` of what is left over."""
        frames = self.extent.frames
        if frames is None:
            return np.concatenate(list(self._blocks(0, wanted)))
        start = int(place * max(0, frames - wanted))
        return np.concatenate(list(self._blocks(start, min(wanted, frames - start))))

    def _blocks(self, start: int, expected: int) -> Iterator[Float[np.ndarray, "s"]]:
        step = max(1, _BLOCK // self._sound.channels)
        read = 0
        try:
            if start:
                self._sound.seek(start)
            while read < expected:
                count = min(step, expected - read)
                block = self._sound.read(count, dtype="float32", always_2d=True)
                if not len(block):
                    break
                read += len(block)
                yield _mono(block, self._where)
        except self._damage as error:
            raise self._damaged(error) from error
        # The length of these two is an estimate, and they leave out what is damaged.
        share = _MOSTLY if self._sound.format in ("MP3", "MPEG", "OGG") else 1
        if not read or (self.extent.frames is not None and read < share * expected):
            raise self._damaged(f"{read} of {expected} samples could be decoded")

    def _damaged(self, reason: object) -> DataError:
        said = getattr(reason, "error_string", reason)
        return DataError(
            413,
            f"the sound is damaged: {said}",
            where=self._where,
            fix="replace or remove the file",
        )


def _format_of(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return "WAV"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return "MP3"
    return {b"fLaC": "FLAC", b"OggS": "OGG"}.get(head[:4])


def _check_format(kind: str | None, head: bytes, where: str, formats: tuple[str, ...]) -> None:
    if kind not in formats:
        raise DataError(
            414,
            f"no sound of an allowed format, its bytes begin with {head[:8]!r}",
            where=where,
            fix=f"allowed: {', '.join(formats)}",
        )


def _check_whole(file: BinaryIO, head: bytes, where: str) -> None:
    """Raises DataError if a WAV file ends before its samples do, which decoders do not mind."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    end = file.seek(0, io.SEEK_END)
    place = 12
    for _ in range(_MOST_CHUNKS):
        if place + 8 > end:
            return
        file.seek(place)
        chunk = file.read(8)
        size = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"fmt ":
            # A rate of 0 is an error of its own only here: decoders do not open such a file.
            rate = file.read(8)[4:]
            if len(rate) == 4:
                _check(Extent(None, int.from_bytes(rate, "little")), where)
        if chunk[:4] == b"data":
            if size < _UNKNOWN_BYTES and place + 8 + size > end:
                raise DataError(
                    413,
                    f"the sound is damaged: {end - place - 8} of {size} bytes of samples are there",
                    where=where,
                    fix="replace or remove the file",
                )
            return
        place += 8 + size + size % 2


def _check(extent: Extent, where: str) -> None:
    if not RATES[0] <= extent.rate <= RATES[1]:
        raise DataError(
            412,
            f"a sample rate of {extent.rate} Hz",
            where=where,
            fix=f"rates from {RATES[0]} to {RATES[1]} Hz are taken",
        )
    if extent.frames == 0:
        raise no_samples(where)


def no_samples(where: str) -> DataError:
    """The error of an empty sound."""
    return DataError(411, "the sound has no samples", where=where, fix="replace the file")


def _mono(block: Float[np.ndarray, "s c"], where: str) -> Float[np.ndarray, "s"]:
    """The mean of the channels, once all samples are known to be ones."""
    largest = np.abs(block).max(initial=0.0)
    if not largest <= _LOUDEST:
        what = f"a sample of {largest:g}" if np.isfinite(largest) else "samples that are not finite"
        raise DataError(
            415, f"the sound has {what}", where=where, fix="save it with samples in [-1, 1]"
        )
    return block.mean(axis=1, dtype=np.float32)
