"""Inputs made worse step by step: what is left of them at a severity from 0 (all) to 1 (nothing).

Given the same generator, more severity keeps what less has taken away: the noise is the same, only
louder, and what is dropped is dropped in one order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from mmjax.core.typing import Bool, Float, Shaped
from mmjax.data.transforms.words import words_of

_PARTS = 50
"""Equal parts that a sound is cut into, some of which go silent."""
_BLUR = 1 / 8
"""Deviation of the blur at severity one half, in sides of the picture."""
_REACH = 4.0
"""Deviations that a blur looks to either side, as SciPy's `gaussian_filter` does."""


def dropped(count: int, severity: float, rng: np.random.Generator) -> Bool[np.ndarray, "n"]:
    """Which of `count` things go: the first of a random order, `severity` of them, rounded."""
    gone = np.zeros(count, bool)
    gone[rng.permutation(count)[: math.floor(severity * count + 0.5)]] = True
    return gone


def noisy_pixels(
    pixels: Shaped[np.ndarray, "*n h w c"], severity: float, rng: np.random.Generator
) -> Float[np.ndarray, "*n h w c"]:
    """`severity` parts of even noise in [0, 1] and the rest the picture, in [0, 1]."""
    values = _unit(pixels)
    noise = rng.random(values.shape, np.float32)
    return (1 - np.float32(severity)) * values + np.float32(severity) * noise


def blurred(
    pixels: Shaped[np.ndarray, "*n h w c"], severity: float
) -> Float[np.ndarray, "*n h w c"]:
    """A Gaussian blur of deviation severity / (1 - severity) x an eighth of the height, in [0, 1].

    At 1 every pixel has the mean colour. Beyond its edges the picture is mirrored.
    """
    values = _unit(pixels)
    if severity >= 1:
        return np.broadcast_to(values.mean(axis=(-3, -2), keepdims=True), values.shape).copy()
    height, width = values.shape[-3:-1]
    sigma = height * _BLUR * severity / (1 - severity)
    rows, columns = _blur_matrix(height, sigma), _blur_matrix(width, sigma)
    return np.einsum("ij,...jkc,lk->...ilc", rows, values, columns, optimize=True)


@functools.lru_cache(maxsize=32)
def _blur_matrix(size: int, sigma: float) -> Float[np.ndarray, "n n"]:
    if sigma <= 0:
        return np.eye(size, dtype=np.float32)
    reach = int(_REACH * sigma + 0.5)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * np.square(steps / sigma))
    places = (np.arange(size)[:, None] + steps) % (2 * size)
    places = np.where(places < size, places, 2 * size - 1 - places)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], places), weights / weights.sum())
    return matrix.astype(np.float32)


def noisy_sound(
    waveform: Float[np.ndarray, "s"], severity: float, rng: np.random.Generator
) -> Float[np.ndarray, "s"]:
    """`severity` parts of white noise as loud (root mean square) as the sound, the rest the sound.

    The ratio of signal to noise is 20 log10((1 - severity) / severity) dB.
    """
    loudness = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
    noise = loudness * rng.standard_normal(len(waveform))
    return ((1 - severity) * waveform + severity * noise).astype(np.float32)


def silenced(
    waveform: Float[np.ndarray, "s"], severity: float, rng: np.random.Generator
) -> Float[np.ndarray, "s"]:
    """The sound with `severity` of its fifty parts silent."""
    gone = dropped(_PARTS, severity, rng)
    part = np.arange(len(waveform)) * _PARTS // max(1, len(waveform))
    return np.where(gone[part], np.float32(0), waveform)


def noisy_numbers(
    values: Float[np.ndarray, "*n"], severity: float, rng: np.random.Generator
) -> Float[np.ndarray, "*n"]:
    """`severity` parts of normal noise of deviation 1 and the rest the standardised numbers."""
    noise = rng.standard_normal(values.shape)
    return ((1 - severity) * values + severity * noise).astype(np.float32)


def noisy_points(
    points: Float[np.ndarray, "n c"], severity: float, rng: np.random.Generator
) -> Float[np.ndarray, "n c"]:
    """`severity` parts of normal noise with each column's mean and deviation, the rest points."""
    noise = points.mean(axis=0) + points.std(axis=0) * rng.standard_normal(points.shape)
    return ((1 - severity) * points + severity * noise).astype(np.float32)


def swapped_categories(
    ids: Shaped[np.ndarray, "n"],
    cardinalities: Sequence[int],
    severity: float,
    rng: np.random.Generator,
) -> Shaped[np.ndarray, "n"]:
    """Each id, with a chance of `severity`, one drawn from those known (1 and up) in its column.

    What is missing (0) stays so.
    """
    chances, drawn = rng.random(len(ids)), rng.random(len(ids))
    most = np.maximum(np.asarray(cardinalities) - 1, 0)
    others = np.minimum(1 + (drawn * most).astype(ids.dtype), most)
    return np.where((chances < severity) & (ids > 0), others, ids).astype(ids.dtype)


def fewer_words(
    text: str, severity: float, rng: np.random.Generator, *, in_place: bool = False
) -> str:
    """The text without `severity` of its words, or with blanks in their places."""
    words = words_of(text)
    gone = dropped(len(words), severity, rng)
    blank = [" " * len(word) if in_place else "" for word in words]
    kept = [blank[i] if gone[i] else word for i, word in enumerate(words)]
    if in_place:
        return text[: len(text) - sum(map(len, words))] + "".join(kept)
    return "".join(kept).rstrip()


def _unit(pixels: np.ndarray) -> Float[np.ndarray, "*n h w c"]:
    if pixels.dtype == np.uint8:
        return pixels * np.float32(1 / 255)
    return pixels.astype(np.float32)
