"""Waveforms at another sample rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mmjax.core import extras
from mmjax.core.typing import Float


def resample(waveform: Float[np.ndarray, "s"], given: int, wanted: int) -> Float[np.ndarray, "s"]:
    """float32 at `wanted` Hz of a waveform at `given` Hz, by soxr's high quality (linear phase,
    antialiased); the waveform itself if the rates are equal.
    """
    waveform = np.ascontiguousarray(waveform, np.float32)
    if given == wanted:
        return waveform
    return extras.require("soxr", "audio").resample(waveform, given, wanted, quality="HQ")


def resample_blocks(
    blocks: Iterable[Float[np.ndarray, "s"]], given: int, wanted: int
) -> Iterator[Float[np.ndarray, "s"]]:
    """`resample` of a waveform that comes piece by piece, none of which is kept."""
    if given == wanted:
        yield from (np.ascontiguousarray(block, np.float32) for block in blocks)
        return
    soxr = extras.require("soxr", "audio")
    stream = soxr.ResampleStream(given, wanted, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block, np.float32))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
