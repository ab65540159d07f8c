"""Random changes of sensor readings in training, in their own units, before they are normalised.

Each is `f(readings, rng, **strengths)`: float32 [t f] and the generator of this example; the shape
stays. They are those of Um et al. 2017, "Data augmentation of wearable sensor data".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax.core.typing import Float
from mmjax.data.transforms.augment import strengths_of

Readings = Float[np.ndarray, "t f"]

_KNOTS = 4


def rotation(readings: Readings, rng: np.random.Generator, degrees: float) -> Readings:
    """Turned in space, as a sensor that sits otherwise: by an angle that is normal with this
    deviation, about any axis. Features are vectors of three, one after another; what is left over
    stays.
    """
    axis = rng.standard_normal(3)
    angle = np.radians(degrees) * rng.standard_normal()
    x, y, z = axis / max(float(np.linalg.norm(axis)), 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # The formula of Rodrigues.
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    whole = readings.shape[1] // 3 * 3
    vectors = readings[:, :whole].reshape(len(readings), -1, 3) @ turn.T
    turned = vectors.reshape(len(readings), whole)
    return np.concatenate([turned, readings[:, whole:]], axis=1).astype(np.float32)


def scale(readings: Readings, rng: np.random.Generator, share: float) -> Readings:
    """Stronger or weaker as a whole, by a factor that is normal around 1 with this deviation."""
    return readings * np.float32(1 + share * rng.standard_normal())


def jitter(readings: Readings, rng: np.random.Generator, share: float) -> Readings:
    """White noise of `share` of each feature's own deviation."""
    noise = rng.standard_normal(readings.shape, dtype=np.float32)
    return readings + np.float32(share) * readings.std(axis=0) * noise


def time_warp(readings: Readings, rng: np.random.Generator, share: float) -> Readings:
    """Faster here and slower there: the logarithm of the speed is normal with this deviation at
    four places, linear between them; both ends stay.
    """
    steps = len(readings)
    speeds = np.exp(share * rng.standard_normal(_KNOTS))
    if steps < 2:
        return readings
    speed = np.interp(np.linspace(0, _KNOTS - 1, steps - 1), np.arange(_KNOTS), speeds)
    places = np.concatenate([[0], np.cumsum(speed)])
    places *= (steps - 1) / places[-1]
    known = np.arange(steps)
    return np.stack([np.interp(places, known, one) for one in readings.T], 1).astype(np.float32)


READINGS: Mapping[str, Callable[..., np.ndarray]] = {
    "jitter": jitter,
    "rotation": rotation,
    "scale": scale,
    "time_warp": time_warp,
}


class AugmentReadings:
    """The transforms of `settings`, in their order: `{"rotation": 15, "jitter": {"share": 0.1}}`.

    Names that are none of `READINGS` are another's. Raises ConfigError for an unknown strength.
    """

    def __init__(self, settings: Mapping[str, Any], *, where: str = "augment"):
        self._chain = [
            (READINGS[name], strengths_of(READINGS[name], name, given, where))
            for name, given in settings.items()
            if name in READINGS
        ]

    def __call__(self, readings: Readings, rng: np.random.Generator) -> Readings:
        for function, strengths in self._chain:
            readings = function(readings, rng, **strengths)
        return readings
