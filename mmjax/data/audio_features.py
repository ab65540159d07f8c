"""What an audio encoder reads of a waveform: samples, log-mel bands or cepstra."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from mmjax.core.typing import Float
from mmjax.data import spectrogram

Style = Literal["whisper", "kaldi"]

_VARIANCE_FLOOR = 1e-7
_WHISPER_FLOOR = 1e-10
_LOG_FLOOR = -10.0
_WHISPER_TOP_HERTZ = 8000.0
_KALDI_FLOOR = 1.192092955078125e-07
_KALDI_LOW_HERTZ = 20.0
_KALDI_PREEMPHASIS = 0.97


class Features(NamedTuple):
    """One waveform's features."""

    values: Float[np.ndarray, "t f"]
    frames: int
    """How many of them belong to sound; those after it are the fading of the last window."""
    silence: float
    """The value of every band after the end."""


def standardize(waveform: Float[np.ndarray, "s"]) -> Float[np.ndarray, "s"]:
    """Zero mean and unit variance, float32; silence stays 0.

    As `Wav2Vec2FeatureExtractor` does under a mask: padding comes after, and counts for nothing.
    """
    if not len(waveform):
        return np.zeros(0, np.float32)
    mean = waveform.mean(dtype=np.float64)
    variance = waveform.var(dtype=np.float64)
    return ((waveform - mean) / np.sqrt(variance + _VARIANCE_FLOOR)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class LogMel:
    """Log-mel bands of a waveform in [-1, 1].

    "whisper" (Radford et al. 2022, section 2.2): centred windows, Slaney's bands to 8 kHz, log10,
    no lower than 8 below the largest, then (x + 4) / 4. "kaldi" (Povey et al. 2011, as the Audio
    Spectrogram Transformer uses it): windows inside the waveform without offset and with
    pre-emphasis 0.97, transformed at the next power of two, bands of Kaldi's mels from 20 Hz,
    natural log, then (x - mean) / std.

    Agrees with `WhisperFeatureExtractor`, and with `ASTFeatureExtractor` where `std` is twice its
    own.
    """

    style: Style = "whisper"
    sample_rate: int = 16_000
    mel_bins: int = 80
    window: int = 400
    """Samples."""
    hop: int = 160
    """Samples from one frame to the next."""
    mean: float = 0.0
    std: float = 1.0

    def frames(self, samples: int) -> int:
        """Frames of so many samples; those that begin in it ("whisper"), or lie in it ("kaldi").

        A waveform that is shorter than a window has one.
        """
        if self.style == "whisper":
            return -(-samples // self.hop)
        return 1 + max(samples - self.window, 0) // self.hop if samples else 0

    def samples(self, frames: int) -> int:
        """The fewest samples that have so many frames without an end in silence."""
        if self.style == "whisper":
            return frames * self.hop
        return self.window + (frames - 1) * self.hop

    def __call__(self, waveform: Float[np.ndarray, "s"], longest: int | None = None) -> Features:
        """float32 features. `longest` is the number of samples that silence would fill up to.

        It matters to "whisper" alone: at the very end of its padded waveform sound is mirrored.
        """
        waveform = np.asarray(waveform, np.float64)
        if self.style == "whisper":
            return self._whisper(waveform, longest)
        mel = self._kaldi(waveform)
        values = (np.log(np.maximum(mel, _KALDI_FLOOR)) - self.mean) / self.std
        return Features(values.astype(np.float32), len(values), (0.0 - self.mean) / self.std)

    def cepstra(self, waveform: Float[np.ndarray, "s"], coefficients: int) -> Features:
        """Mel-frequency cepstral coefficients (Davis and Mermelstein 1980), float32.

        The orthonormal cosine transform of the natural log of Kaldi's bands, whatever the style.
        """
        mel = self._kaldi(np.asarray(waveform, np.float64))
        values = np.log(np.maximum(mel, _KALDI_FLOOR))
        values = values @ spectrogram.cosines(self.mel_bins, coefficients)
        return Features(values.astype(np.float32), len(values), 0.0)

    def _whisper(self, waveform: np.ndarray, longest: int | None) -> Features:
        count, half = len(waveform), self.window // 2
        # Silence enough for every frame that hears the last sample, and no more than there is.
        longest = max(count, self.window if longest is None else longest)
        room = min(longest, count + 2 * self.window)
        padded = np.pad(np.pad(waveform, (0, room - count)), half, mode="reflect")
        heard = min(self.frames(count + half), room // self.hop)
        values = self.whisper_bands(padded)[:heard]
        highest = values.max(initial=_LOG_FLOOR)
        frames = min(self.frames(count), heard)
        silence = self.scaled(np.array(_LOG_FLOOR), highest)
        return Features(self.scaled(values, highest), frames, float(silence))

    def whisper_bands(self, samples: Float[np.ndarray, "s"]) -> Float[np.ndarray, "t f"]:
        """log10 of Whisper's bands in each window that lies inside the samples, float64."""
        filters = spectrogram.mel_filters(
            self.window,
            self.mel_bins,
            self.sample_rate,
            0.0,
            min(_WHISPER_TOP_HERTZ, self.sample_rate / 2),
            "slaney",
        )
        window = spectrogram.hann(self.window, periodic=True)
        mel = spectrogram.power_mel(samples, filters, window, hop=self.hop, fft=self.window)
        return np.log10(np.maximum(mel, _WHISPER_FLOOR))

    @staticmethod
    def scaled(values: Float[np.ndarray, "..."], highest: float) -> Float[np.ndarray, "..."]:
        """What Whisper reads of `whisper_bands`, the largest of a whole sound being `highest`."""
        return ((np.maximum(values, highest - 8) + 4) / 4).astype(np.float32)

    def _kaldi(self, waveform: np.ndarray) -> np.ndarray:
        if len(waveform) < self.window:
            waveform = np.pad(waveform, (0, self.window - len(waveform)))
        fft = 1 << (self.window - 1).bit_length()
        top = float(self.sample_rate // 2)
        filters = spectrogram.mel_filters(
            fft, self.mel_bins, self.sample_rate, _KALDI_LOW_HERTZ, top, "kaldi"
        )
        return spectrogram.power_mel(
            waveform,
            filters,
            spectrogram.hann(self.window, periodic=False),
            hop=self.hop,
            fft=fft,
            remove_offset=True,
            preemphasis=_KALDI_PREEMPHASIS,
        )
