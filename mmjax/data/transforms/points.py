"""Random changes of sets of points in training, once they are centred.

Each is `f(points, rng, **strengths)`: float32 [n c], or, of those in `PLACES`, the places alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax.core.typing import Float
from mmjax.data.transforms.augment import chain_of

Points = Float[np.ndarray, "n c"]


def rotation(places: Points, rng: np.random.Generator, degrees: float) -> Points:
    """Turned about the upright axis, the third, by an angle that is uniform up to this either way.

    Places of one axis stay.
    """
    angle = np.radians(degrees) * (2 * rng.random() - 1)
    if places.shape[1] < 2:
        return places
    cos, sin = np.cos(angle), np.sin(angle)
    turned = places[:, :2] @ np.array([[cos, sin], [-sin, cos]])
    return np.concatenate([turned, places[:, 2:]], axis=1).astype(np.float32)


def scale(places: Points, rng: np.random.Generator, share: float) -> Points:
    """Larger or smaller as a whole, by a factor that is normal around 1 with this deviation."""
    return places * np.float32(1 + share * rng.standard_normal())


def jitter(points: Points, rng: np.random.Generator, share: float) -> Points:
    """White noise in each column, of this share of the column's own deviation."""
    noise = rng.standard_normal(points.shape, dtype=np.float32)
    return points + np.float32(share) * points.std(axis=0) * noise


def drop(points: Points, rng: np.random.Generator, share: float) -> Points:
    """Without a part of the points, of any size up to this share; one stays."""
    gone = min(len(points) - 1, int(rng.random() * share * len(points)))
    return points[np.sort(rng.permutation(len(points))[gone:])]


PLACES: Mapping[str, Callable[..., np.ndarray]] = {"rotation": rotation, "scale": scale}
WHOLE: Mapping[str, Callable[..., np.ndarray]] = {"drop": drop, "jitter": jitter}


class AugmentPoints:
    """The transforms of `settings`, in their order: `{"rotation": 30, "jitter": 0.02}`.

    The first `axes` columns are the place of a point. Raises ConfigError for an unknown name or
    strength.
    """

    def __init__(self, settings: Mapping[str, Any], axes: int, *, where: str = "augment"):
        self._axes = axes
        self._chain = chain_of(settings, {**PLACES, **WHOLE}, where)

    def __call__(self, points: Points, rng: np.random.Generator) -> Points:
        for name, change in self._chain:
            if name in WHOLE:
                points = change(points, rng)
            else:
                places = change(points[:, : self._axes], rng)
                points = np.concatenate([places, points[:, self._axes :]], axis=1)
        return points
