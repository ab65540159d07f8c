"""Small files in the formats that the source av_mnist reads."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def write(
    folder: Path, *, pictures: int = 6, sounds: int = 5, seed: int = 0
) -> dict[str, np.ndarray]:
    """`mnist_5k.csv.gz` and `digits.npz` with so many of each digit; returns what they hold.

    Pictures stand label by label, sounds in any order, as in the packages.
    """
    rng = np.random.default_rng(seed)
    written = np.repeat(np.arange(10), pictures)
    pixels = rng.integers(0, 256, (len(written), 784))
    lines = np.column_stack([pixels, written])
    with gzip.open(folder / "mnist_5k.csv.gz", "wt") as file:
        np.savetxt(file, lines, fmt="%d", delimiter=",")
    spoken = rng.permutation(np.repeat(np.arange(10), sounds))
    lengths = rng.integers(3, 9, len(spoken))
    frames = rng.normal(3, 10, (lengths.sum(), 13)).astype(np.float32)
    np.savez(folder / "digits.npz", X=frames, y=spoken, lengths=lengths)
    return {
        "pixels": pixels,
        "written": written,
        "spoken": spoken,
        "frames": frames,
        "lengths": lengths,
    }
