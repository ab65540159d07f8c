"""Sound cells to mono waveforms: files are read as streams, and no further than is needed."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float
from mmjax.data.audio_stream import FORMATS, Extent, Samples, SoundFile, no_samples
from mmjax.data.cells import shown
from mmjax.data.paths import MAX_STREAMED_BYTES, naming, open_media
from mmjax.data.resampling import resample, resample_blocks

MAX_BYTES = MAX_STREAMED_BYTES
"""Files are read as streams, so that their size is no danger."""


def decode_audio(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    sample_rate: int,
    max_seconds: float,
    place: float = 0.0,
    strict_rate: bool = False,
    formats: tuple[str, ...] = FORMATS,
) -> Float[np.ndarray, "s"]:
    """The waveform of a cell, mono float32 at `sample_rate` Hz, `max_seconds` at most.

    A cell is a path below `root`, encoded bytes, an array [s] or [s c] at `sample_rate` (floats in
    [-1, 1], or integers that fill their type), or a mapping with `bytes`, or with `array` and
    `sampling_rate`, as Hugging Face data sets have. Channels are averaged. Of a longer sound a part
    is taken: its beginning at `place` 0, its middle at 0.5, its end at 1. Raises DataError, which
    names the path, for a format outside `formats`, no samples at all, a rate outside
    `audio_stream.RATES` or, with `strict_rate`, other than `sample_rate`, samples that are not
    finite or beyond 1e6, and damage.
    """
    with naming(cell), _opened(cell, root, where, sample_rate, formats) as sound:
        rate = sound.extent.rate
        _check_rate(rate, sample_rate, strict_rate, where)
        wanted = max(1, math.ceil(max_seconds * rate))
        waveform = sound.read(wanted, place)
        most = max(1, int(max_seconds * sample_rate))
        made = resample(waveform, rate, sample_rate)[:most]
        if not len(made):
            raise no_samples(where)
        return made


@contextlib.contextmanager
def stream_audio(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    sample_rate: int,
    formats: tuple[str, ...] = FORMATS,
) -> Iterator[Iterator[Float[np.ndarray, "s"]]]:
    """All of a cell's waveform in pieces, mono float32 at `sample_rate` Hz, none of them kept.

    Cells and errors are those of `decode_audio`, but for how long a sound may be.
    """
    with naming(cell), _opened(cell, root, where, sample_rate, formats) as sound:
        yield resample_blocks(sound.blocks(), sound.extent.rate, sample_rate)


def measure_audio(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    sample_rate: int,
    formats: tuple[str, ...] = FORMATS,
) -> Extent:
    """The length of a cell's sound without decoding it. Raises as `decode_audio` does."""
    with naming(cell), _opened(cell, root, where, sample_rate, formats) as sound:
        return sound.extent


def verify_audio(
    cell: Any,
    *,
    root: Path | None,
    where: str,
    sample_rate: int,
    strict_rate: bool = False,
    formats: tuple[str, ...] = FORMATS,
) -> None:
    """Decodes a cell's sound from beginning to end, keeping nothing. Raises as `decode_audio`."""
    with naming(cell), _opened(cell, root, where, sample_rate, formats) as sound:
        _check_rate(sound.extent.rate, sample_rate, strict_rate, where)
        sound.verify()


def _check_rate(rate: int, wanted: int, strict: bool, where: str) -> None:
    if strict and rate != wanted:
        raise DataError(
            412,
            f"the sample rate is {rate} Hz, and {wanted} Hz was declared",
            where=where,
            fix="resample it, or unset strict_rate",
        )


@contextlib.contextmanager
def _opened(
    cell: Any, root: Path | None, where: str, sample_rate: int, formats: tuple[str, ...]
) -> Iterator[SoundFile | Samples]:
    if isinstance(cell, Mapping) and isinstance(cell.get("bytes"), bytes):
        cell = cell["bytes"]
    if isinstance(cell, Mapping) and "array" in cell:
        sample_rate = _whole(cell.get("sampling_rate", sample_rate))
        cell = np.asarray(cell["array"])
    if isinstance(cell, np.ndarray):
        yield Samples(cell, sample_rate, where)
    elif isinstance(cell, (bytes, bytearray)):
        with SoundFile(io.BytesIO(cell), where, formats) as sound:
            yield sound
    elif isinstance(cell, str):
        with open_media(root, cell, where=where) as file, SoundFile(file, where, formats) as sound:
            yield sound
    else:
        raise DataError(
            416,
            f"'{shown(cell)}' ({type(cell).__name__}) is no sound",
            where=where,
            fix="give a path, encoded bytes or an array of samples",
        )


def _whole(rate: Any) -> int:
    return int(rate) if isinstance(rate, (int, float)) and rate == rate // 1 else 0
