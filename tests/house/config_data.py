"""Data for configs whose users bring their own, and how their models are made small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import PIL.Image

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230)}


def clips(folder: Path) -> list[str]:
    """24 clips of a coloured square that moves, and `captions.jsonl`."""
    lines = []
    for index in range(24):
        name, colour = list(COLOURS.items())[index % len(COLOURS)]
        right = index // len(COLOURS) % 2 == 0
        frames = np.full((8, 32, 32, 3), 128, np.uint8)
        for time, frame in enumerate(frames):
            left = 3 * time if right else 21 - 3 * time
            frame[10:20, left : left + 10] = colour
        path = folder / f"{index}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
        caption = f"a {name} square moves to the {'right' if right else 'left'}"
        lines.append(json.dumps({"clip": path.name, "caption": caption}))
    manifest = folder / "captions.jsonl"
    manifest.write_text("\n".join([*lines, ""]))
    small = {"depth": 1, "width": 24, "heads": 2, "mlp_dim": 48}
    parts = ("model.encoders.text", "model.encoders.video", "model.fusion")
    return [
        f"data.source.path={manifest}",
        "data.modalities.video.size=32",
        "data.modalities.video.frames=4",
        "data.split.fractions=[0.4,0.3,0.3]",
        *(f"{part}.{key}={value}" for part in parts for key, value in small.items()),
    ]


def questions(folder: Path) -> list[str]:
    """Four questions about each of 12 coloured pictures, as easy-VQA's package has them."""
    for split in ("train", "test"):
        (folder / split / "images").mkdir(parents=True)
        rows = []
        for index in range(12):
            name, colour = list(COLOURS.items())[index % len(COLOURS)]
            path = folder / split / "images" / f"{index}.png"
            PIL.Image.new("RGB", (64, 64), colour).save(path)
            for asked in COLOURS:
                answer = "yes" if asked == name else "no"
                rows.append([f"is there a {asked} shape?", answer, index])
            rows.append(["what color is the shape?", name, index])
        (folder / split / "questions.json").write_text(json.dumps(rows))
    return [f"data.source.folder={folder}"]


def shallow(folder: Path) -> list[str]:
    """Nothing; one layer is enough."""
    return ["model.encoders.image.depth=1", "objectives.masked_image.decoder_depth=1"]


MAKERS: dict[str, Callable[[Path], list[str]]] = {
    "easy_vqa": questions,
    "mae_image": shallow,
    "video_text": clips,
}
"""By the config's name: what writes data into a folder and returns changes of the config."""
