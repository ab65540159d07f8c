"""Log-mel bands of a long sound, a window at a time: never more of it is held than a window."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mmjax.core.typing import Float
from mmjax.data.audio_features import LogMel

_AT_ONCE = 3000


class BandStream:
    """log10 of Whisper's bands, read once from the start of a sound and forgotten behind.

    `blocks` are its samples at `log_mel.sample_rate`, in pieces of any length. Frames are those of
    `WhisperFeatureExtractor` for the whole sound, mirrored at both ends: one for every `hop`
    samples, without those that do not fill one.
    """

    def __init__(self, blocks: Iterable[Float[np.ndarray, "s"]], log_mel: LogMel):
        self._blocks, self._log_mel = iter(blocks), log_mel
        self._half = log_mel.window // 2
        self._samples = np.zeros(0, np.float32)
        """What is not in a frame yet, from the start of the next one's window."""
        self._skipped = 0
        """How many samples are still to come before that, where windows do not overlap."""
        self._last = np.zeros(0, np.float32)
        self._seen = 0
        self._bands = np.zeros((0, log_mel.mel_bins))
        self._first = 0
        self._ended = False

    def window(self, start: int, count: int) -> Float[np.ndarray, "t f"]:
        """`count` frames from `start` on, fewer at the end of the sound. Frames before `start` are
        forgotten: later windows begin there or behind.
        """
        if start < self._first:
            raise ValueError(f"frame {start} is forgotten: the first that is kept is {self._first}")
        while True:
            gone = min(start - self._first, len(self._bands))
            self._bands, self._first = self._bands[gone:], self._first + gone
            if self._ended or self._first + len(self._bands) >= start + count:
                return self._bands[:count]
            self._read()

    def highest(self) -> float:
        """The largest of all bands from here to the end, which is read."""
        found, start = -np.inf, self._first
        while len(bands := self.window(start, _AT_ONCE)):
            found, start = max(found, float(bands.max())), start + len(bands)
        return found

    def _read(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._ended = True
            self._add(np.pad(self._last, (0, self._half), mode="reflect")[len(self._last) :])
            whole = max(0, self._seen // self._log_mel.hop - self._first)
            self._bands = self._bands[:whole]
            return
        before, self._seen = self._seen, self._seen + len(block)
        self._last = np.concatenate([self._last, block])[-max(self._half + 1, 1) :]
        if before <= self._half:
            # Its beginning is mirrored, as soon as there is enough to mirror.
            block = np.concatenate([self._samples, block])
            self._samples = block
            if self._seen <= self._half:
                return
            block, self._samples = np.pad(block, (self._half, 0), mode="reflect"), block[:0]
        self._add(block)

    def _add(self, block: Float[np.ndarray, "s"]) -> None:
        skipped = min(self._skipped, len(block))
        self._skipped -= skipped
        samples = np.concatenate([self._samples, block[skipped:]])
        hop, window = self._log_mel.hop, self._log_mel.window
        frames = 1 + (len(samples) - window) // hop if len(samples) >= window else 0
        if frames:
            bands = self._log_mel.whisper_bands(samples[: (frames - 1) * hop + window])
            self._bands = np.concatenate([self._bands, bands])
            self._skipped = max(0, frames * hop - len(samples))
        self._samples = samples[frames * hop :]
