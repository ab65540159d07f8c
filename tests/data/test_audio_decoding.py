"""Sounds of every format, rate and kind of damage."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from mmjax.core import extras
from mmjax.core.errors import DataError, TransientError
from mmjax.data import paths
from mmjax.data.audio_decoding import decode_audio, measure_audio
from mmjax.data.resampling import resample

RATE = 16_000
TIME = np.arange(2 * RATE) / RATE
TONE = (0.5 * np.sin(2 * np.pi * 440 * TIME)).astype(np.float32)


def _encoded(samples, rate=RATE, format="WAV", subtype=None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def _decode(cell, root=None, sample_rate=RATE, max_seconds=10.0, **options) -> np.ndarray:
    return decode_audio(
        cell,
        root=root,
        where="m.csv:3:sound",
        sample_rate=sample_rate,
        max_seconds=max_seconds,
        **options,
    )


def _refused(code: int, cell, **options) -> str:
    with pytest.raises(DataError, match=rf"MMX-{code}.*m\.csv:3:sound") as caught:
        _decode(cell, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 4e-5),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "FLOAT", 0),
        ("WAV", "DOUBLE", 0),
        ("WAV", "MS_ADPCM", 2e-2),
        ("WAV", "ULAW", 2e-2),
        ("WAVEX", "PCM_16", 4e-5),
        ("RF64", "PCM_16", 4e-5),
        ("FLAC", "PCM_16", 4e-5),
        ("OGG", "VORBIS", 3e-2),
        ("OGG", "OPUS", 3e-2),
        ("MP3", None, 3e-2),
    ],
)
def test_formats(format, subtype, tolerance):
    content = _encoded(TONE, format=format, subtype=subtype)
    got = _decode(content)
    assert got.dtype == np.float32
    middle = slice(2000, 30_000)
    np.testing.assert_allclose(got[middle], TONE[middle], atol=tolerance)
    extent = measure_audio(content, root=None, where="w", sample_rate=1)
    assert extent.rate == RATE
    assert extent.frames == len(got)


def test_channels_are_averaged():
    rng = np.random.default_rng(0)
    for channels in (2, 3, 8):
        samples = rng.normal(0, 0.1, (4000, channels)).astype(np.float32)
        got = _decode(_encoded(samples, subtype="FLOAT"))
        np.testing.assert_allclose(got, samples.astype(np.float64).mean(1), atol=1e-7)


def test_cells_of_every_kind_are_the_same_sound(tmp_path):
    content = _encoded(TONE)
    (tmp_path / "a.wav").write_bytes(content)
    whole = np.rint(TONE * 32768).astype(np.int16)
    want = _decode("a.wav", root=tmp_path)
    np.testing.assert_allclose(want, TONE, atol=5e-5)
    cells = [
        content,
        bytearray(content),
        whole,
        whole[:, None],
        {"bytes": content, "path": "gone.wav"},
        {"array": whole / 32768, "sampling_rate": RATE, "path": None},
        (whole.astype(np.int32) << 16),
        (whole.astype(np.int32) + 32768).astype(np.uint16),
    ]
    for cell in cells:
        np.testing.assert_allclose(_decode(cell), want, atol=5e-5)


@pytest.mark.parametrize("given", [8000, 22_050, 44_100, 48_000])
def test_rates_are_brought_to_the_one_asked_for(given):
    time = np.arange(2 * given) / given
    content = _encoded(np.sin(2 * np.pi * 440 * time), given, subtype="FLOAT")
    got = _decode(content)
    assert abs(len(got) - 2 * RATE) <= 1
    want = np.sin(2 * np.pi * 440 * np.arange(len(got)) / RATE)
    np.testing.assert_allclose(got[1000:-1000], want[1000:-1000], atol=1e-3)
    assert "8000" in _refused(412, _encoded(TONE, 8000), strict_rate=True)
    assert len(_decode(_encoded(TONE), strict_rate=True)) == len(TONE)


def test_a_tone_above_the_new_limit_is_gone():
    time = np.arange(96_000) / 48_000
    high = np.sin(2 * np.pi * 12_000 * time).astype(np.float32)
    assert np.abs(resample(high, 48_000, 16_000)[500:-500]).max() < 1e-3


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0, 0.123])
def test_a_part_of_a_longer_sound(format, place):
    ramp = np.linspace(-0.5, 0.5, 30 * 8000).astype(np.float32)
    got = _decode(_encoded(ramp, 8000, format), sample_rate=8000, max_seconds=2, place=place)
    start = int(place * (len(ramp) - 16_000))
    assert got.shape == (16_000,)
    tolerance = 2e-2 if format == "OGG" else 1e-4
    # Vorbis smears the jump at the end of the file.
    want = ramp[start : start + 16_000]
    np.testing.assert_allclose(got[500:-500], want[500:-500], atol=tolerance)


def test_ten_hours_are_read_no_further_than_needed(tmp_path):
    frames, loud = 36_000 * RATE, 20_000 * RATE
    head = _encoded(np.zeros((1, 2)), subtype="PCM_16")[:40]
    with open(tmp_path / "long.wav", "wb") as file:
        file.write(head + struct.pack("<I", 4 * frames))
        file.seek(44 + 4 * loud)
        file.write(np.full((RATE, 2), 8192, np.int16).tobytes())
        file.truncate(44 + 4 * frames)
    extent = measure_audio("long.wav", root=tmp_path, where="w", sample_rate=1)
    assert extent == (frames, RATE)
    tracemalloc.start()
    got = _decode("long.wav", root=tmp_path, place=loud / (frames - 10 * RATE))
    assert not _decode("long.wav", root=tmp_path).any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.shape == (10 * RATE,)
    np.testing.assert_allclose(got[10:15_990], 0.25)
    assert not got[16_010:].any()
    assert peak < 16 * 2**20


def test_a_data_chunk_of_unknown_length_has_the_real_one():
    content = _encoded(TONE, subtype="PCM_16")
    place = content.index(b"data") + 4
    for size in (b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"):
        got = _decode(content[:place] + size + content[place + 4 :])
        np.testing.assert_allclose(got, TONE, atol=5e-5)


@pytest.mark.parametrize("rate", [1, 999, 400_000, 2**31 - 1])
def test_rates_that_are_none(rate):
    content = _encoded(TONE)
    wrong = content[:24] + struct.pack("<I", rate) + content[28:]
    assert str(rate) in _refused(412, wrong)
    _refused(412, {"array": TONE, "sampling_rate": rate})


def test_a_rate_of_zero():
    content = _encoded(TONE)
    _refused(412, content[:24] + b"\0\0\0\0" + content[28:])
    _refused(412, {"array": TONE, "sampling_rate": 0})


def test_no_samples():
    for cell in (
        _encoded(np.zeros(0)),
        _encoded(np.zeros(0), format="OGG"),
        np.zeros(0, np.float32),
        np.zeros((0, 2), np.float32),
        # One sample at 48 kHz is less than one at 16 kHz.
        _encoded(np.ones(1), 48_000),
    ):
        _refused(411, cell)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -2e6])
def test_samples_that_are_none(value):
    samples = np.stack([TONE, TONE], 1)
    samples[777, 1] = value
    _refused(415, _encoded(samples, subtype="FLOAT"))
    _refused(415, samples)
    _refused(415, _encoded(np.full(100, 1e300), subtype="DOUBLE"))


def test_silence_is_a_sound():
    assert not _decode(_encoded(np.zeros(5000))).any()


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_files_that_end_early(format, share):
    content = _encoded(TONE, format=format)
    _refused(413, content[: int(len(content) * share)])


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_wrong_is_a_data_error(seed):
    rng = np.random.default_rng(seed)
    kinds = (("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"))
    content = bytearray(_encoded(rng.normal(0, 0.1, (3000, 2)), RATE, *kinds[seed % 4]))
    for _ in range(rng.integers(1, 12)):
        content[rng.integers(len(content) if seed % 8 > 3 else 60)] = rng.integers(256)
    with contextlib.suppress(DataError):
        got = _decode(bytes(content), max_seconds=0.1, place=rng.random())
        assert 0 < len(got) <= 1600
        assert np.isfinite(got).all()


@pytest.mark.parametrize("format", ["FLAC", "OGG"])
def test_damage_in_the_middle(format):
    content = bytearray(_encoded(np.random.default_rng(0).normal(0, 0.1, 96_000), format=format))
    for start in range(len(content) // 4, len(content) - 100, len(content) // 8):
        content[start : start + 64] = b"\xa5" * 64
    _refused(413, bytes(content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"<html><body>not found</body></html>",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"#!AMR\n" + bytes(40),
        b"#EXTM3U\nhttp://example.org/a.ts\n",
    ],
)
def test_what_is_no_sound(content):
    assert "allowed: WAV, FLAC, OGG, MP3" in _refused(414, content)


def test_formats_are_allow_listed():
    for format in ("AIFF", "AU", "CAF", "W64"):
        _refused(414, _encoded(TONE, format=format))
    _refused(414, _encoded(TONE, format="FLAC"), formats=("WAV",))
    for head in (b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS" + bytes(60), b"ID3" + bytes(60)):
        _refused(413, head)


@pytest.mark.parametrize("cell", [3, None, np.zeros(5, bool), np.zeros((2, 2, 2)), {"path": "a"}])
def test_cells_that_are_no_sound(cell):
    _refused(416, cell)


def test_paths_are_named_and_stay_inside(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.wav").write_bytes(_encoded(TONE))
    (tmp_path / "in" / "b.wav").write_bytes(b"hello")
    (tmp_path / "in" / "c.wav").write_bytes(b"")
    assert "'b.wav'" in _refused(414, "b.wav", root=tmp_path / "in")
    _refused(301, "../a.wav", root=tmp_path / "in")
    _refused(305, "https://example.org/a.wav", root=tmp_path / "in")
    _refused(306, "d.wav", root=tmp_path / "in")
    _refused(309, "c.wav", root=tmp_path / "in")


def test_a_disk_that_fails_is_no_bad_sound(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(_encoded(TONE))
    monkeypatch.setattr(paths, "_READ_AT_ONCE", 0)
    assert len(_decode("a.wav", root=tmp_path)) == len(TONE)
    opened = os.open
    # Reading from what was opened for writing is an OSError.
    monkeypatch.setattr(os, "open", lambda path, flags: opened(path, os.O_WRONLY))
    with pytest.raises(TransientError, match=r"MMX-307.*a\.wav"):
        _decode("a.wav", root=tmp_path)


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(_encoded(TONE))
    monkeypatch.setattr(paths, "_READ_AT_ONCE", 0)
    with (
        pytest.raises(DataError, match="MMX-308"),
        paths.open_media(tmp_path, "a.wav", where="w"),
        open(tmp_path / "a.wav", "ab") as more,
    ):
        more.write(b"more")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(extras.MissingExtra, match=r"MMX-114.*pip install 'mmjax\[audio\]'"):
        _decode(b"RIFF\0\0\0\0WAVE")
