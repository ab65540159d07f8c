"""Waveforms to power spectra, mel bands and cepstra, in float64 as the reference does."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from mmjax.core.typing import Float

Scale = Literal["slaney", "htk", "kaldi"]

_AT_ONCE = 2**20
"""Samples of overlapping frames that are transformed together, so that they stay in cache."""


def hertz_to_mel(hertz: Float[np.ndarray, "*n"], scale: Scale) -> Float[np.ndarray, "*n"]:
    """Mels of frequencies: Slaney's (1998) scale is linear to 1000 Hz, the others logarithmic."""
    if scale == "slaney":
        ratio = np.maximum(hertz, 1000.0) / 1000.0
        return np.where(hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(ratio) / np.log(6.4))
    return (1127.0 if scale == "kaldi" else 2595.0 / np.log(10)) * np.log1p(hertz / 700.0)


def mel_to_hertz(mels: Float[np.ndarray, "*n"], scale: Scale) -> Float[np.ndarray, "*n"]:
    """The inverse of `hertz_to_mel`."""
    if scale == "slaney":
        above = 1000 * np.exp(np.log(6.4) / 27 * (np.maximum(mels, 15.0) - 15))
        return np.where(mels < 15, 200 * mels / 3, above)
    return 700.0 * np.expm1(mels / (1127.0 if scale == "kaldi" else 2595.0 / np.log(10)))


@functools.lru_cache(maxsize=32)
def mel_filters(
    fft: int, mel_bins: int, sample_rate: int, low: float, high: float, scale: Scale
) -> Float[np.ndarray, "k f"]:
    """Triangular filters from the `fft` // 2 + 1 bins of a power spectrum to mel bands.

    Frequencies are in Hz. Slaney's triangles are straight over frequency and have equal areas,
    Kaldi's are straight over mels and have equal heights, HTK's straight over frequency and of
    equal heights. Agrees with `transformers.audio_utils.mel_filter_bank` as Whisper ("slaney") and
    the Audio Spectrogram Transformer ("kaldi") call it.
    """
    ends = hertz_to_mel(np.array([low, high], np.float64), scale)
    edges = np.linspace(ends[0], ends[1], mel_bins + 2)
    places = np.arange(fft // 2 + 1) * (sample_rate / fft)
    if scale == "kaldi":
        places = hertz_to_mel(places, scale)
    else:
        edges = mel_to_hertz(edges, scale)
    widths = np.diff(edges)
    rising = (places[:, None] - edges[None, :-2]) / widths[:-1]
    falling = (edges[None, 2:] - places[:, None]) / widths[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if scale == "slaney":
        filters *= 2 / (edges[2:] - edges[:-2])
    filters.flags.writeable = False
    return filters


def hann(length: int, *, periodic: bool) -> Float[np.ndarray, "n"]:
    """The Hann window; periodic for spectra, symmetric as Kaldi has it."""
    steps = length if periodic else max(length - 1, 1)
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / steps)


def power_mel(
    waveform: Float[np.ndarray, "s"],
    filters: Float[np.ndarray, "k f"],
    window: Float[np.ndarray, "n"],
    *,
    hop: int,
    fft: int,
    remove_offset: bool = False,
    preemphasis: float = 0.0,
) -> Float[np.ndarray, "t f"]:
    """Power of each mel band in each frame that lies inside the waveform, float64.

    A frame is len(`window`) samples, `hop` after the one before; with `remove_offset` its mean is
    taken from it, then `preemphasis` times the sample before from each sample (the first is its own
    forerunner), then it is multiplied by the window and padded to `fft`.
    """
    length = len(window)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, length)[::hop]
    power = np.empty((len(frames), filters.shape[1]))
    step = max(1, _AT_ONCE // fft)
    for start in range(0, len(frames), step):
        part = frames[start : start + step].astype(np.float64)
        if remove_offset:
            part -= part.mean(axis=1, keepdims=True)
        if preemphasis:
            part[:, 1:] -= preemphasis * part[:, :-1]
            part[:, 0] *= 1 - preemphasis
        part *= window
        spectrum = np.fft.rfft(part, fft)
        power[start : start + step] = (spectrum.real**2 + spectrum.imag**2) @ filters
    return power


@functools.lru_cache(maxsize=32)
def cosines(bands: int, coefficients: int) -> Float[np.ndarray, "f k"]:
    """The first columns of the orthonormal discrete cosine transform of type 2."""
    angle = np.pi / bands * (np.arange(bands)[:, None] + 0.5) * np.arange(coefficients)
    matrix = np.cos(angle) * np.sqrt(2 / bands)
    matrix[:, 0] /= np.sqrt(2)
    matrix.flags.writeable = False
    return matrix
