"""Features of small pictures for which no label is needed: pixels, gradients, colours, patches."""

from __future__ import annotations

import itertools

import numpy as np

from mmjax.core.typing import Float

Pixels = Float[np.ndarray, "b h w c"]

_AT_ONCE = 100
"""Pictures whose patches are looked at together."""


def picture_features(
    pictures: Pixels, known: Pixels, *, seed: int
) -> dict[str, Float[np.ndarray, "b d"]]:
    """Features by name of RGB pictures [b 32 32 3] in [0, 1]; patches are learnt from `known`."""
    return {
        "pixels": _pooled(pictures, 4).reshape(len(pictures), -1),
        "gradients_4": gradients(pictures, 4),
        "gradients_8": gradients(pictures, 8),
        "colours": colours(pictures, levels=3, cell=8),
        "patches_6": Patches(known, side=6, count=400, seed=seed)(pictures, grid=2),
        "patches_8": Patches(known, side=8, count=400, seed=seed)(pictures, grid=3),
    }


def gradients(pictures: Pixels, cell: int, *, bins: int = 9) -> Float[np.ndarray, "b d"]:
    """Histograms of unsigned gradient directions in cells, each of length 1.

    Dalal & Triggs 2005 with votes shared between neighbouring directions, without their blocks.
    """
    grey = np.pad(pictures.mean(axis=-1), ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
    down = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    place = (np.arctan2(down, across) % np.pi) / np.pi * bins
    lower = np.floor(place).astype(int)
    share = (place - lower)[..., None]
    votes = np.eye(bins)[lower % bins] * (1 - share) + np.eye(bins)[(lower + 1) % bins] * share
    cells = _pooled(votes * np.hypot(across, down)[..., None], cell)
    cells /= np.sqrt(np.square(cells).sum(axis=-1, keepdims=True) + 1e-3)
    return cells.reshape(len(pictures), -1)


def colours(pictures: Pixels, *, levels: int, cell: int) -> Float[np.ndarray, "b d"]:
    """Square roots of the shares of levels^3 colours in cells."""
    steps = np.minimum((pictures * levels).astype(int), levels - 1)
    code = (steps[..., 0] * levels + steps[..., 1]) * levels + steps[..., 2]
    shares = _pooled(np.eye(levels**3, dtype=np.float32)[code], cell)
    return np.sqrt(shares).reshape(len(pictures), -1)


class Patches:
    """How much each part of a picture resembles patches that are typical of others.

    Coates & Ng 2012, "Learning feature representations with k-means": patches with contrast
    normalised, whitened, clustered by direction; activations above 0.5, summed over a grid.
    """

    def __init__(
        self,
        known: Pixels,
        *,
        side: int,
        count: int,
        seed: int,
        sampled: int = 100_000,
        rounds: int = 12,
    ):
        rng = np.random.default_rng(seed)
        self._side = side
        windows = self._windows(known)
        where = [rng.integers(0, size, sampled) for size in windows.shape[:3]]
        patches = windows[tuple(where)].reshape(sampled, -1)
        patches = _normalised(patches[patches.std(axis=1) > 0.01])
        self._mean = patches.mean(axis=0)
        variances, directions = np.linalg.eigh(np.cov((patches - self._mean).T))
        whitening = (directions / np.sqrt(variances + 0.1)) @ directions.T
        self._whitening = whitening.astype(np.float32)
        patches = (patches - self._mean) @ self._whitening
        typical = rng.normal(size=(count, patches.shape[1])).astype(np.float32)
        for _ in range(rounds):
            typical /= np.linalg.norm(typical, axis=1, keepdims=True)
            likeness = patches @ typical.T
            nearest = likeness.argmax(axis=1)
            weight = likeness[np.arange(len(patches)), nearest]
            np.add.at(typical, nearest, patches * weight[:, None])
        self._typical = typical / np.linalg.norm(typical, axis=1, keepdims=True)

    def __call__(self, pictures: Pixels, *, grid: int) -> Float[np.ndarray, "b d"]:
        """[b grid^2 count], square roots of mean activations."""
        parts = [pictures[i : i + _AT_ONCE] for i in range(0, len(pictures), _AT_ONCE)]
        return np.concatenate([self._of(part, grid) for part in parts])

    def _of(self, pictures: Pixels, grid: int) -> Float[np.ndarray, "b d"]:
        windows = self._windows(pictures)
        count, places = len(pictures), windows.shape[1]
        patches = _normalised(windows.reshape(count * places**2, -1))
        active = ((patches - self._mean) @ self._whitening) @ self._typical.T
        active = np.maximum(active - 0.5, 0).reshape(count, places, places, -1)
        edges = np.rint(np.linspace(0, places, grid + 1)).astype(int)
        spans = [slice(*pair) for pair in itertools.pairwise(edges)]
        cells = [active[:, down, across].mean(axis=(1, 2)) for down in spans for across in spans]
        return np.sqrt(np.concatenate(cells, axis=1))

    def _windows(self, pictures: Pixels) -> np.ndarray:
        shape = (self._side, self._side)
        return np.lib.stride_tricks.sliding_window_view(pictures, shape, axis=(1, 2))


def _normalised(patches: np.ndarray) -> np.ndarray:
    centred = patches - patches.mean(axis=1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + 0.01)


def _pooled(values: np.ndarray, cell: int) -> np.ndarray:
    count, height, width, channels = values.shape
    cells = values.reshape(count, height // cell, cell, width // cell, cell, channels)
    return cells.mean(axis=(2, 4))
