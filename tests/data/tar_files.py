"""Tar shards of small pictures and captions, written by the standard library."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import PIL.Image

from mmjax.core.registry import Spec
from mmjax.data.config import sources
from mmjax.data.sources.shards import File
from mmjax.data.sources.tar_index import index_tar


def picture(number: int, side: int = 8) -> bytes:
    """An encoded PNG that is another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def caption(number: int) -> str:
    return f"picture number {number} of größe {number % 7}"


def samples(first: int, count: int) -> dict[str, bytes]:
    """Members by name: a picture, a caption and JSON for each sample."""
    found = {}
    for i in range(first, first + count):
        found[f"{i:06d}.png"] = picture(i)
        found[f"{i:06d}.txt"] = caption(i).encode()
        found[f"{i:06d}.json"] = json.dumps({"number": i, "of": {"parity": i % 2}}).encode()
    return found


def write_tar(path: Path, members: Mapping[str, bytes], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def table_of(*paths, **options):
    """The shards as a table."""
    return sources.build(Spec("webdataset", paths=tuple(map(str, paths)), **options)).read()


def index_of(path, **options):
    """The index of a shard of not too many members."""
    return index_tar(File(path), **{"max_members": 10_000, **options})
