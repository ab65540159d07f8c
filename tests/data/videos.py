"""Small videos, made by the encoders of PyAV."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
import numpy as np


def shades(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Gray frames, each a little lighter than the one before."""
    return [np.full((height, width, 3), 10 + 200 * i // count, np.uint8) for i in range(count)]


def encoded(
    frames: Sequence[np.ndarray],
    format: str = "mp4",
    codec: str = "libx264",
    *,
    turn: int = 0,
    **options: str,
) -> bytes:
    """An encoded video of uint8 frames [h w 3] at ten a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = options
        if turn:
            stream.set_display_rotation(turn)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
