"""Pictures and sounds as data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

_MOST_PIXELS = 320
_THUMBNAIL = 48


def data_uri(image: np.ndarray, most: int = _MOST_PIXELS) -> str:
    """A PNG data URI of a uint8 image, shrunk to at most so many pixels a side."""
    return png_uri(_encoded(image, most, "PNG"))


def thumbnail_uri(image: np.ndarray) -> str:
    """A small WebP data URI."""
    return _uri("image/webp", _encoded(image, _THUMBNAIL, "WEBP", quality=70))


def png_uri(data: bytes) -> str:
    """A data URI of a PNG file."""
    return _uri("image/png", data)


def wav_uri(data: bytes) -> str:
    """A data URI of a WAV file."""
    return _uri("audio/wav", data)


def _encoded(image: np.ndarray, most: int, kind: str, **options: int) -> bytes:
    plain = image[..., 0] if image.shape[2:] == (1,) else image
    picture = Image.fromarray(np.ascontiguousarray(plain))
    picture.thumbnail((most, most))
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
