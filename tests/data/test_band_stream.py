"""Bands of sounds that come in pieces: those of the whole, and no more memory for ten hours."""

from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.data.audio_decoding import decode_audio, stream_audio
from mmjax.data.audio_features import LogMel
from mmjax.data.band_stream import BandStream

SOUND = np.random.default_rng(0).normal(size=16_000 + 77).astype(np.float32) * 0.1
PLACE = {"root": None, "where": "the test"}


def pieces(sizes):
    start = 0
    while start < len(SOUND):
        for size in sizes:
            yield SOUND[start : start + size]
            start += size


@pytest.mark.parametrize("sizes", [(20_000,), (50, 3, 0, 1000), (199, 2, 700)])
def test_bands_are_those_of_the_whole(sizes):
    import transformers

    extract = transformers.WhisperFeatureExtractor(feature_size=12)
    wanted = extract(SOUND, sampling_rate=16_000, padding="longest", return_tensors="np")
    wanted = wanted["input_features"][0].T
    log_mel = LogMel(mel_bins=12)
    highest = BandStream(pieces(sizes), log_mel).highest()
    stream = BandStream(pieces(sizes), log_mel)
    starts = (0, 40, 41, 95, 99, 300)
    for start in starts:
        found = log_mel.scaled(stream.window(start, 30), highest)
        np.testing.assert_allclose(found, wanted[start : start + 30], atol=1e-5)
    with pytest.raises(ValueError, match="forgotten"):
        stream.window(0, 1)


def test_pieces_are_those_of_the_whole_at_another_rate():
    cell = {"array": SOUND, "sampling_rate": 12_000}
    whole = decode_audio(cell, **PLACE, sample_rate=16_000, max_seconds=10)
    with stream_audio(cell, **PLACE, sample_rate=16_000) as blocks:
        found = np.concatenate(list(blocks))
    assert len(found) == len(whole)
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_ten_hours_take_no_more_memory_than_a_minute(tmp_path):
    """36,000 s at 1 kHz, a file with a hole in it."""
    rate = 1000
    for name, seconds in (("long.wav", 36_000), ("short.wav", 60)):
        size = 2 * rate * seconds
        head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16)
        head += struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16) + b"data"
        with (tmp_path / name).open("wb") as file:
            file.write(head + struct.pack("<I", size))
            file.truncate(len(head) + 4 + size)
    log_mel = LogMel(sample_rate=rate, hop=rate, mel_bins=4)

    def read(name):
        tracemalloc.start()
        with stream_audio(name, root=tmp_path, where="the test", sample_rate=rate) as blocks:
            stream, frames = BandStream(blocks, log_mel), 0
            while len(window := stream.window(frames, 30)):
                frames += len(window)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return frames, most

    assert read("short.wav")[0] == 60
    frames, most = read("long.wav")
    assert frames == 36_000
    assert most < 16 * 2**20


def test_a_sound_without_samples_is_refused():
    with (
        pytest.raises(DataError, match="no samples"),
        stream_audio(np.zeros(0, np.float32), **PLACE, sample_rate=16_000),
    ):
        pass
