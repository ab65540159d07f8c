"""Tiny pairs of pictures and texts, for configs that read their user's, and small models."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image

ROWS = 40
COLOURS = ("red", "green", "blue", "yellow", "white")
SHAPES = ("square", "disc", "bar", "ring")
# A scan over one block costs more to compile than the block, bfloat16 more than float32.
SMALL = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16, "scan": False}


def rows() -> Iterator[tuple[bytes, str]]:
    """PNGs of 16 x 16 with captions."""
    rng = np.random.default_rng(0)
    for row in range(ROWS):
        file = io.BytesIO()
        pixels = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(file, "PNG")
        colour, shape = COLOURS[row % len(COLOURS)], SHAPES[row % len(SHAPES)]
        yield file.getvalue(), f"a {colour} {shape} on black, number {row}"


def manifest(folder: Path) -> list[str]:
    """The pairs as pictures and JSON Lines."""
    lines = []
    for index, (picture, text) in enumerate(rows()):
        (folder / f"{index}.png").write_bytes(picture)
        lines.append(json.dumps({"image": f"{index}.png", "text": text}))
    path = folder / "pairs.jsonl"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return ["data.source=jsonl", f"data.source.path={path}"]


def shard(folder: Path) -> list[str]:
    """The pairs as one tar file, which is read where the config reads many."""
    path = folder / "pairs.tar"
    with tarfile.open(path, "w") as tar:
        for index, (picture, text) in enumerate(rows()):
            for extension, content in (("png", picture), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{index:04d}.{extension}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return [
        f'data.source.paths=["{path}"]',
        "data.source.held_out.validation=0.3",
        f"data.source.cache={folder / 'indexes'}",
    ]


def sized(place: str) -> list[str]:
    return [f"{place}.{name}={size}" for name, size in SMALL.items()]


def pairs(write: Callable[[Path], list[str]], *changes: str) -> Callable[[Path], list[str]]:
    """Writes the pairs and returns the changes of a config that reads them."""

    def make(folder: Path) -> list[str]:
        return [
            *write(folder),
            "data.threads=1",
            "data.modalities.text.tokenizer=wordpiece",
            "data.modalities.text.vocab_size=90",
            "data.modalities.text.max_length=10",
            "data.modalities.image.size=16",
            "optimizer.warmup=1 steps",
            "model.joint_dim=8",
            "model.dtype=float32",
            *sized("model.encoders.text"),
            *changes,
        ]

    return make


PATCHES = [*sized("model.encoders.image"), "model.encoders.image.patch=8"]
PAIRS: dict[str, Callable[[Path], list[str]]] = {
    "clip_vit_b16": pairs(shard, *PATCHES, "model.encoders.text.end_id=3"),
    "siglip_base": pairs(manifest, *PATCHES),
    "coca_base": pairs(
        manifest,
        *sized("model.encoders.image.encode_with"),
        "model.encoders.image.encode_with.patch=8",
        "model.encoders.image.queries=3",
        "model.encoders.image.width=8",
        "model.encoders.image.heads=2",
        *sized("objectives.captioning"),
    ),
    "albef_like": pairs(
        manifest, *PATCHES, *sized("model.fusion"), "objectives.contrastive.queue_size=16"
    ),
}
"""By the config's name."""
