"""Pictures of every orientation, mode and kind of damage."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib

import numpy as np
import PIL.Image
import pytest

from mmjax.core.errors import DataError
from mmjax.data.decoding import decode_image

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")

UPRIGHT = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)

# How each EXIF orientation was stored, so that applying it gives the upright picture back
# (TIFF 6.0, tag 274).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def _decode(cell, **options) -> np.ndarray:
    return np.asarray(decode_image(cell, root=None, where="m.csv:3:image", **options))


def _encoded(picture: PIL.Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _png(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that its few bytes do not hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_exif_orientation_gives_the_upright_picture(kind, orientation):
    stored = PIL.Image.fromarray(np.ascontiguousarray(STORED[orientation](UPRIGHT)))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    got = _decode(_encoded(stored, kind, exif=exif, **options))
    assert got.shape == UPRIGHT.shape
    assert np.abs(got.astype(int) - UPRIGHT).max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (13_000, 13_000), (8000, 7000)])
def test_bombs_are_refused_by_their_header(width, height):
    content = _png(width, height)
    began = time.perf_counter()
    with pytest.raises(DataError, match=r"MMX-402.*m\.csv:3:image") as caught:
        _decode(content)
    assert "pixels" in str(caught.value)
    assert time.perf_counter() - began < 0.5


def test_limits_can_be_set():
    with pytest.raises(DataError, match="over the limit of 50"):
        _decode(UPRIGHT, max_pixels=50)
    assert _decode(UPRIGHT, max_pixels=54).shape == (6, 9, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_truncated_files_are_damaged(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = _encoded(PIL.Image.fromarray(noise), kind)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(DataError, match=r"MMX-40[34].*m\.csv:3:image"):
            _decode(content[: int(len(content) * share)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_flipped_bytes_decode_or_are_data_errors(kind):
    rng = np.random.default_rng(0)
    content = _encoded(PIL.Image.fromarray(UPRIGHT), kind)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(256)
        with contextlib.suppress(DataError):
            assert _decode(bytes(damaged), max_pixels=100_000).ndim == 3


@pytest.mark.parametrize(
    "content",
    [
        b"<html><body>not found</body></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\0",
    ],
)
def test_other_files_are_refused(content):
    with pytest.raises(DataError, match=r"MMX-404.*allowed: JPEG, PNG"):
        _decode(content)


def test_formats_are_an_allow_list():
    content = _encoded(PIL.Image.fromarray(UPRIGHT), "GIF")
    with pytest.raises(DataError, match="MMX-404"):
        _decode(content, formats=("PNG",))


def test_alpha_is_composited_on_white():
    rgba = np.random.default_rng(1).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    share = rgba[..., 3:] / 255.0
    want = rgba[..., :3] * share + 255 * (1 - share)
    for cell in (rgba, PIL.Image.fromarray(rgba), _encoded(PIL.Image.fromarray(rgba))):
        assert np.abs(_decode(cell) - want).max() <= 1
    gray = PIL.Image.fromarray(rgba[..., [0, 3]], "LA")
    want = rgba[..., :1] * share + 255 * (1 - share)
    assert np.abs(_decode(_encoded(gray)) - want).max() <= 1


def test_transparent_palette_entries_are_white():
    picture = PIL.Image.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    picture.putpixel((1, 2), 1)
    got = _decode(_encoded(picture, transparency=0))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert got[2, 1].tolist() == [200, 100, 50]


def test_sixteen_bits_keep_their_brightness():
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    got = _decode(_encoded(PIL.Image.fromarray(values)))
    assert np.array_equal(got[..., 0], np.rint(values / 257).astype(np.uint8))


def test_other_modes():
    bits = np.random.default_rng(2).random((5, 5)) > 0.5
    got = _decode(_encoded(PIL.Image.fromarray(bits)))
    assert np.array_equal(got, np.repeat(bits[..., None], 3, axis=-1) * np.uint8(255))
    cmyk = PIL.Image.new("CMYK", (3, 3), (0, 255, 255, 0))
    red = _decode(_encoded(cmyk, "JPEG", quality=100))[1, 1].astype(int)
    assert red[0] > 200
    assert red[1:].max() < 60
    assert _decode(np.full((3, 4), 7, np.uint8)).tolist() == np.full((3, 4, 3), 7).tolist()
    with pytest.raises(DataError, match="MMX-405"):
        _decode(_encoded(PIL.Image.new("F", (3, 3), 0.5), "TIFF"))


def test_one_channel():
    got = _decode(UPRIGHT, channels=1)
    assert np.array_equal(got, np.asarray(PIL.Image.fromarray(UPRIGHT).convert("L")))


def test_the_first_frame_of_an_animation():
    frames = [PIL.Image.new("RGB", (4, 4), (40 * i, 0, 0)) for i in range(5)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = _encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert _decode(content).tolist() == np.zeros((4, 4, 3)).tolist()


@pytest.mark.parametrize(
    "cell",
    [
        3,
        ["a.png"],
        np.zeros((3, 3, 2), np.uint8),
        np.zeros((3, 3, 3)),
        np.zeros((0, 3, 3), np.uint8),
    ],
)
def test_what_is_no_picture(cell):
    with pytest.raises(DataError, match="MMX-406"):
        _decode(cell)


def test_paths_are_read_below_the_root_only(tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "a.png").write_bytes(_encoded(PIL.Image.fromarray(UPRIGHT)))
    (tmp_path / "media" / "b.png").write_bytes(_encoded(PIL.Image.fromarray(UPRIGHT)))
    root = tmp_path / "media"
    got = decode_image("b.png", root=root, where="x")
    assert np.array_equal(np.asarray(got), UPRIGHT)
    with pytest.raises(DataError, match="leaves the root"):
        decode_image("../a.png", root=root, where="x")
    with pytest.raises(DataError, match=r"b\.png"):
        decode_image("B.png", root=root, where="x")


def test_drafts_stay_above_the_size_asked_for():
    smooth = np.tile(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 1, 3))
    content = _encoded(PIL.Image.fromarray(smooth), "JPEG", quality=95)
    small = _decode(content, draft=100)
    assert 100 <= small.shape[0] < 480
    want = np.asarray(PIL.Image.fromarray(smooth).resize(small.shape[1::-1]))
    assert np.abs(small.astype(int) - want).mean() < 1.5
    assert _decode(content, draft=480).shape == (480, 640, 3)
