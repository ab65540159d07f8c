"""Pictures a second from tar and ArrayRecord shards, against the same pictures in files.

python -m benchmarks.shards
python -m benchmarks.shards --sizes b64-h480 --pictures 2000

Sizes: b pictures a batch, h pixels a side of the JPEGs. The batches, which are the same from all
three, are shuffled over the whole set; "bytes" reads the encoded pictures alone, "pictures" also
decodes them, cuts the middle and makes them 224 x 224. Everything is in the page cache: what a disk
adds is not measured.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks import harness, timing
from mmjax.api.packing import pack
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.dataset import Dataset
from mmjax.data.order import training
from mmjax.data.paths import read_media
from mmjax.data.pipeline import prepare

SIZES = ("b64-h256", "b64-h480")


def write_pictures(folder: Path, count: int, side: int) -> Path:
    """Smooth pictures with some noise, as JPEGs of about the size that photographs have."""
    lines = []
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        smooth = PIL.Image.fromarray(coarse).resize((side, side), PIL.Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth, np.int16) + rng.integers(-12, 13, (side, side, 3))
        file = io.BytesIO()
        PIL.Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        (folder / f"{i:06d}.jpg").write_bytes(file.getvalue())
        lines.append(json.dumps({"image": f"{i:06d}.jpg"}) + "\n")
    manifest = folder / "pictures.jsonl"
    manifest.write_text("".join(lines))
    return manifest


def datasets(folder: Path, count: int, side: int) -> dict[str, Dataset]:
    """The same rows from files, tar shards and ArrayRecord shards."""
    (folder / "files").mkdir(parents=True)
    manifest = write_pictures(folder / "files", count, side)
    options: dict[str, Any] = {"media": ("image",), "shard_size": str(-(-count // 4))}
    sources = {
        "files": Spec("jsonl", path=str(manifest)),
        "tar": pack(str(manifest), folder / "tar", **options).replace(cache=str(folder / "cache")),
        "arrayrecord": pack(str(manifest), folder / "records", format="arrayrecord", **options),
    }
    return {
        name: prepare(
            DataConfig(
                source=source,
                modalities={"image": Spec("image", columns=("image",))},
                split=SplitConfig(fractions=(1.0, 0.0, 0.0)),
                threads=0,
            )
        )
        for name, source in sources.items()
    }


def decoded(name: str, dataset: Dataset, batch_size: int) -> timing.Variant:
    """The next batch, of an endless loader."""
    loader = dataset.loader("train", train=True, batch_size=batch_size)
    return timing.Variant(
        name, lambda: [next(loader).inputs["image"]["pixel_values"]], tolerance=0.0
    )


def encoded(name: str, dataset: Dataset, batch_size: int) -> timing.Variant:
    """The encoded pictures of the next batch."""
    order = training(dataset.table, dataset.rows("train"), batch_size, seed=0)
    cells = dataset.table.column("image")
    steps = iter(range(len(order)))

    def call() -> list[np.ndarray]:
        found = [cells[row] for row in order[next(steps)].tolist()]
        if isinstance(found[0], str):
            found = [read_media(dataset.table.root, one, where="") for one in found]
        return [np.array([len(one) for one in found])]

    return timing.Variant(name, call, tolerance=0.0)


def cases(args: argparse.Namespace) -> Iterator[timing.Case]:
    """Bytes and pictures of each size."""
    for size in args.sizes:
        batch_size, side = harness.dimensions(size, "b h")
        with tempfile.TemporaryDirectory() as folder:
            made = datasets(Path(folder), args.pictures, side)
            for what, variant in (("bytes", encoded), ("pictures", decoded)):
                reference = variant("files", made["files"], batch_size).call()
                yield timing.Case(
                    size=size,
                    what=what,
                    variants=[variant(name, one, batch_size) for name, one in made.items()],
                    reference=reference,
                    examples=batch_size,
                )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser("shards", __doc__, sizes=SIZES)
    parser.add_argument("--pictures", type=int, default=512)
    args = parser.parse_args(arguments)
    harness.run("shards", cases(args), args)


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()
