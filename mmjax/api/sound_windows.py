"""Sounds of any length as the windows of features that Whisper hears."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmjax.core.typing import Float
from mmjax.data.audio_decoding import stream_audio
from mmjax.data.audio_front import FrontEnd
from mmjax.data.band_stream import BandStream


class Windows(Protocol):
    """A sound, seen from its start to its end."""

    long: bool
    """Whether it takes more than one window."""

    def at(self, start: int) -> tuple[Float[np.ndarray, "1 t f"], int]:
        """The window that begins at a frame, filled up to its full length, and how many frames of
        it are sound: 0 behind the end. Later windows begin there or behind.
        """
        ...


@contextlib.contextmanager
def windows_of(audio: Any, front: FrontEnd) -> Iterator[Windows]:
    """The windows of a sound, `front.longest` frames each.

    A sound is a path, encoded bytes, an array [s] or [s c] at the front end's rate, or a mapping
    with `array` and `sampling_rate`. One that is longer than a window is read twice, for the
    largest of its bands, by which all are scaled, and then for the windows; no more of it is held
    than one. As `WhisperFeatureExtractor` makes them: a sound of one window ends in silence, the
    last window of a longer one in zeros. Raises DataError as `mmjax.data` does, for one without
    samples too.
    """
    root, cell = None, audio
    if isinstance(audio, (str, os.PathLike)):
        path = Path(audio).expanduser().resolve()
        root, cell = path.parent, path.name
    source: dict[str, Any] = {"root": root, "where": "audio", "sample_rate": front.sample_rate}
    with stream_audio(cell, **source) as blocks:
        beginning, rest = _beginning(blocks, front.max_samples)
        if len(beginning) <= front.max_samples:
            yield _Short(beginning, front)
            return

        def whole() -> Iterator[np.ndarray]:
            yield beginning
            yield from rest

        highest = BandStream(whole(), front.log_mel).highest()
    with stream_audio(cell, **source) as blocks:
        yield _Long(BandStream(blocks, front.log_mel), highest, front)


def _beginning(
    blocks: Iterator[Float[np.ndarray, "s"]], most: int
) -> tuple[Float[np.ndarray, "s"], Iterator[Float[np.ndarray, "s"]]]:
    """More than `most` samples, or all that there are, and what comes behind."""
    found, count = [np.zeros(0, np.float32)], 0
    for block in blocks:
        found.append(block)
        count += len(block)
        if count > most:
            break
    return np.concatenate(found), blocks


class _Short:
    long = False

    def __init__(self, waveform: Float[np.ndarray, "s"], front: FrontEnd):
        self._frames = max(1, len(waveform) // front.log_mel.hop)
        self._values = front.batch([front(waveform)])["input_features"]

    def at(self, start: int) -> tuple[Float[np.ndarray, "1 t f"], int]:
        return _filled(self._values[:, start:], self._values.shape[1]), max(0, self._frames - start)


class _Long:
    long = True

    def __init__(self, stream: BandStream, highest: float, front: FrontEnd):
        self._stream, self._highest, self._front = stream, highest, front

    def at(self, start: int) -> tuple[Float[np.ndarray, "1 t f"], int]:
        bands = self._stream.window(start, self._front.longest)
        values = self._front.log_mel.scaled(bands, self._highest)
        return _filled(values[None], self._front.longest), len(bands)


def _filled(values: Float[np.ndarray, "1 t f"], length: int) -> Float[np.ndarray, "1 t f"]:
    return np.pad(values, ((0, 0), (0, length - values.shape[1]), (0, 0)))
