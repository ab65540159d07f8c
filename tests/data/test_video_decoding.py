"""Videos of every container, length and kind of damage."""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
import time
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest
from videos import encoded, shades

from mmjax.core import extras
from mmjax.core.errors import DataError
from mmjax.data import video_stream
from mmjax.data.video_decoding import decode_video, sampled, verify_video

MIDDLES = [0.5] * 4


def _decode(cell, places=MIDDLES, root=None, **options) -> list[np.ndarray]:
    return decode_video(
        cell, root=root, where="m.csv:3:clip", places=places, make=np.asarray, **options
    )


def _refused(code: int, cell, **options) -> str:
    with pytest.raises(DataError, match=rf"MMX-{code}.*m\.csv:3:clip") as caught:
        _decode(cell, **options)
    return str(caught.value)


def _levels(frames) -> np.ndarray:
    return np.array([frame.mean() for frame in frames])


def _noise(count: int) -> list[np.ndarray]:
    base = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return [np.roll(base, i, axis=1) for i in range(count)]


def test_frames_are_at_their_places():
    assert sampled(40, [0.5] * 4) == [5, 15, 25, 35]
    assert sampled(40, [0.0, 0.999, 0.5, 0.999]) == [0, 19, 25, 39]
    assert sampled(10, [0.5] * 4) == [1, 3, 6, 8]
    assert sampled(4, [0.9] * 4) == [0, 1, 2, 3]
    assert sampled(3, [0.5] * 4) == [0, 1, 2]
    assert sampled(0, [0.5] * 4) == []
    for count in range(5, 60):
        found = [sampled(count, [place] * 4) for place in (0.0, 0.5, 0.9999999)]
        for indices in found:
            assert all(a < b for a, b in itertools.pairwise(indices))
        assert found[0][0] == 0
        assert found[2][-1] == count - 1


@pytest.mark.parametrize(
    ("format", "codec", "options"),
    [
        ("mp4", "libx264", {}),
        ("mp4", "libx264", {"g": "7", "bf": "2"}),
        ("mp4", "mpeg4", {"qmin": "1", "qmax": "2"}),
        ("mov", "libx264", {}),
        ("matroska", "libx264", {"g": "12"}),
        ("webm", "libvpx", {"g": "10"}),
        ("avi", "mpeg4", {"g": "10", "qmin": "1", "qmax": "2"}),
        ("gif", "gif", {}),
    ],
)
def test_containers(format, codec, options, monkeypatch):
    frames = shades(60)
    if format == "gif":
        file = io.BytesIO()
        pictures = [PIL.Image.fromarray(frame) for frame in frames]
        pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
        content = file.getvalue()
    else:
        content = encoded(frames, format, codec, **options)
    # Whatever is jumped over, the frames are the same.
    for worth in (0, 24, 1000):
        monkeypatch.setattr(video_stream, "_WORTH_A_SEEK", worth)
        got = _decode(content)
        assert got[0].shape == (32, 48, 3)
        assert got[0].dtype == np.uint8
        np.testing.assert_allclose(_levels(got), _levels(frames[7::15]), atol=2.5)
        late = _levels(_decode(content, [0.99, 0.0, 0.99, 0.99]))
        wanted = [frames[i].mean() for i in (14, 15, 44, 59)]
        np.testing.assert_allclose(late, wanted, atol=2.5)
    verify_video(content, root=None, where="w")


def test_cells_of_every_kind_are_the_same_video(tmp_path):
    frames = shades(20)
    file = io.BytesIO()
    pictures = [PIL.Image.fromarray(frame) for frame in frames]
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], lossless=True)
    (tmp_path / "a.webp").write_bytes(file.getvalue())
    want = _decode(np.stack(frames))
    assert np.array_equal(want, frames[2::5])
    for cell in ("a.webp", file.getvalue(), bytearray(file.getvalue())):
        assert np.array_equal(_decode(cell, root=tmp_path), want)
    gray = _decode(np.stack(frames)[..., :1])
    assert np.array_equal(gray, want)


def test_fewer_frames_than_asked_for():
    for count in (1, 2, 3):
        got = _decode(encoded(shades(count)), [0.5] * 4)
        assert len(got) == count
        np.testing.assert_allclose(_levels(got), _levels(shades(count)), atol=2.5)


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_frames_are_turned_as_the_file_says(turn):
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:8, :8] = 255
    (got,) = _decode(encoded([frame] * 3, turn=turn), [0.5])
    # A positive angle is anticlockwise (libavutil, display.h).
    want = np.rot90(frame, turn // 90)
    assert got.shape == want.shape
    assert np.abs(got.astype(int) - want).mean() < 10


def test_a_change_of_size_in_the_middle():
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for start, (height, width) in ((0, (32, 48)), (10, (64, 96))):
            encoder = av.CodecContext.create("libvpx", "w")
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            encoder.time_base, encoder.framerate = Fraction(1, 10), 10
            packets = []
            for i in range(10):
                pixels = np.full((height, width, 3), 90, np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = start + i, Fraction(1, 10)
                packets += encoder.encode(frame)
            for packet in packets + encoder.encode():
                packet.stream = stream
                container.mux(packet)
    sizes = [frame.shape for frame in _decode(file.getvalue())]
    assert sizes == [(32, 48, 3), (32, 48, 3), (64, 96, 3), (64, 96, 3)]
    assert "damaged" in _refused(423, file.getvalue(), max_pixels=2000)


def test_budgets():
    content = encoded(shades(30))
    assert "48 x 32" in _refused(422, content, max_pixels=1000)
    assert "more than 29 frames" in _refused(422, content, max_frames=29)
    assert "longer than 0 s" in _refused(427, content, deadline_seconds=0)
    file = io.BytesIO()
    PIL.Image.new("RGB", (48, 32)).save(file, "GIF")
    assert "48 x 32" in _refused(422, file.getvalue(), max_pixels=1000)


@pytest.mark.parametrize("format", ["mp4", "avi", "matroska"])
def test_damage(format):
    rng = np.random.default_rng(1)
    content = bytearray(encoded(_noise(40), format, "mpeg4", g="8"))
    whole = bytes(content)
    verify_video(whole, root=None, where="w")
    for start in np.linspace(len(content) * 0.1, len(content) * 0.9, 24).astype(int):
        content[start : start + 60] = bytes(rng.integers(0, 256, 60, dtype=np.uint8))
    with pytest.raises(DataError, match=r"MMX-42[13]"):
        verify_video(bytes(content), root=None, where="w")


def test_a_file_that_ends_early():
    content = encoded(_noise(40), "mp4", "mpeg4")
    _refused(423, content[: len(content) // 2])
    _refused(423, content[:40])
    early = encoded(_noise(40), "matroska", "mpeg4")
    with pytest.raises(DataError, match=r"MMX-42[13]"):
        _decode(early[: len(early) // 2])


def test_an_unknown_codec_and_texts_in_no_encoding():
    content = encoded(shades(8))
    assert "not known" in _refused(424, content.replace(b"avc1", b"zzz1"))
    # The name of the handler is text that only metadata shows.
    odd = content.replace(b"VideoHandler", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe")
    assert odd != content
    assert np.array_equal(_decode(odd), _decode(content))


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_wrong_is_a_data_error(seed):
    rng = np.random.default_rng(seed)
    kinds = (("mp4", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx"))
    content = bytearray(encoded(_noise(12), *kinds[seed % 3]))
    # Half of them in the headers.
    for _ in range(rng.integers(1, 12)):
        content[rng.integers(len(content) if seed % 2 else 300)] = rng.integers(256)
    with contextlib.suppress(DataError):
        assert 0 < len(_decode(bytes(content))) <= 4
        verify_video(bytes(content), root=None, where="w")


def test_no_video():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame) + stream.encode())
    assert "no video stream" in _refused(425, file.getvalue())
    _refused(421, np.zeros((0, 4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n",
        b"ffconcat version 1.0\nfile 'x.mp4'\n",
        b"<html><body>not found</body></html>",
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        b"fLaC" + bytes(40),
    ],
)
def test_what_is_no_video(content):
    assert "allowed: MP4" in _refused(424, content)


def test_a_playlist_in_disguise_reaches_no_other_file(monkeypatch):
    opened = []
    monkeypatch.setattr("socket.socket.connect", lambda *args: opened.append(args))
    playlist = b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n"
    for head in (b"\0\0\0\x18ftypisom", b"RIFF\0\0\0\0AVI ", b"\x1aE\xdf\xa3"):
        began = time.perf_counter()
        with pytest.raises(DataError, match=r"MMX-42[35]"):
            _decode(head + playlist)
        assert time.perf_counter() - began < 2
    assert not opened


def test_formats_are_allow_listed():
    _refused(424, encoded(shades(2), "avi", "mpeg4"), formats=("MP4",))
    _refused(424, encoded(shades(2), "mpegts", "libx264"))
    _refused(423, b"GIF89a" + bytes(20))


@pytest.mark.parametrize(
    "cell", [3, None, np.zeros((4, 4, 4, 3)), np.zeros((4, 4, 3), np.uint8), ["a.mp4"]]
)
def test_cells_that_are_no_video(cell):
    _refused(426, cell)


def test_paths_are_named_and_stay_inside(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.mp4").write_bytes(encoded(shades(4)))
    (tmp_path / "in" / "b.mp4").write_bytes(b"hello, I am no video")
    assert len(_decode("a.mp4", root=tmp_path)) == 4
    assert "'b.mp4'" in _refused(424, "b.mp4", root=tmp_path / "in")
    _refused(301, "../a.mp4", root=tmp_path / "in")
    _refused(305, "http://127.0.0.1:9/a.mp4", root=tmp_path / "in")


def test_a_missing_package_names_the_extra(monkeypatch):
    content = encoded(shades(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(extras.MissingExtra, match=r"MMX-114.*pip install 'mmjax\[video\]'"):
        _decode(content)
