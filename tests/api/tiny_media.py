"""Tables of tiny sounds and videos, whose pitch and colour tell the class."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 8_000
SECONDS = 0.12
HERTZ = {"owl": 400, "wren": 1600}
MISSING, DAMAGED = 5, 9
_WORDS = ("at the edge of", "above the old", "a far away", "by the small", "near my own")


def write_sound(path: Path, kind: str, seed: int = 0) -> Path:
    """0.12 s of the tone of a kind at 8 kHz, with a little noise."""
    times = np.arange(int(RATE * SECONDS)) / RATE
    noise = np.random.default_rng(seed).normal(0, 0.01, len(times))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * HERTZ[kind] * times) + noise, RATE)
    return path


def write_sounds(folder: Path, count: int = 24) -> Path:
    """`sounds.csv`: a sound and words a row. One row lacks its sound, that of one is cut off."""
    rows = []
    for index in range(count):
        kind = list(HERTZ)[index % 2]
        path = write_sound(folder / "sounds" / f"{index}.wav", kind, index)
        if index == DAMAGED:
            path.write_bytes(path.read_bytes()[:100])
        rows.append(
            {
                "key": f"s{index}",
                "cry": "" if index == MISSING else f"sounds/{index}.wav",
                "place": f"{_WORDS[index % len(_WORDS)]} tree {index}",
                "bird": kind,
            }
        )
    return _write(folder / "sounds.csv", rows)


def write_video(path: Path, channel: int) -> Path:
    """8 frames of 16 x 16 pixels of one colour, brighter and brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for brightness in range(100, 260, 20):
            pixels = np.zeros((16, 16, 3), np.uint8)
            pixels[..., channel] = min(brightness, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_videos(folder: Path, count: int = 12) -> Path:
    """`videos.csv`: a video a row."""
    rows = []
    for index in range(count):
        write_video(folder / "videos" / f"{index}.mp4", 2 * (index % 2))
        kind = ("red", "blue")[index % 2]
        rows.append({"key": f"v{index}", "clip": f"videos/{index}.mp4", "colour": kind})
    return _write(folder / "videos.csv", rows)


def _write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
