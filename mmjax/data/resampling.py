"""Waveforms at another sample rate."""

from __future__ import annotations

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
