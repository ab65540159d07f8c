"""A chain of named picture transforms from plain settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Float
from mmjax.data.transforms import colour, geometric
from mmjax.data.transforms.randaugment import MOST_OPERATIONS, randaugment
from mmjax.data.transforms.resize import TRIES, random_box


class Transform(NamedTuple):
    """A function of pictures and of `draws` uniform numbers a picture."""

    function: Callable[..., np.ndarray]
    draws: int


FUNCTIONS = {
    "affine": Transform(geometric.affine, 7),
    "crop": Transform(geometric.crop, 4),
    "cutout": Transform(colour.cutout, 4),
    "flip": Transform(geometric.flip, 1),
    "grayscale": Transform(colour.grayscale, 1),
    "jitter": Transform(colour.jitter, 4),
    "noise": Transform(colour.noise, 2),
    "randaugment": Transform(randaugment, 2 * MOST_OPERATIONS),
    "rotate": Transform(geometric.rotate, 1),
    "shift": Transform(geometric.shift, 2),
}
CROP = "random_resized_crop"
"""The transform of a picture before it is resized, wherever it stands in the settings."""


class RandomCrop:
    """A random part of a picture of any size, as `resize.random_box` draws it."""

    def __init__(self, strengths: Mapping[str, float], where: str):
        self._strengths = dict(strengths)
        self.smallest = self._strengths.get("smallest", 0.08)
        if not 0 < self.smallest <= 1 or self._strengths.get("ratio", 1.0) < 1:
            raise ConfigError(
                106,
                f"{CROP} = {self._strengths} is out of range",
                where=where,
                fix="smallest lies in (0, 1], ratio is 1 or more",
            )

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, "n 4"]:
        """The uniform numbers of one picture."""
        return rng.random((TRIES, 4))

    def box(
        self, size: tuple[int, int], draws: Float[np.ndarray, "n 4"]
    ) -> tuple[int, int, int, int]:
        """The part of a picture of `size` (width, height)."""
        return random_box(size, draws, **self._strengths)


class Augment:
    """The transforms of `settings`, applied in the order they are given.

    `{"shift": 3, "jitter": {"brightness": 0.2, "hue": 0.05}}`: a number is the function's first
    strength, a mapping its strengths by name. `draws` uniform numbers a picture are needed. `crop`
    is the `random_resized_crop`, which the caller does while resizing, or None. Raises ConfigError
    for an unknown name or strength.
    """

    def __init__(self, settings: Mapping[str, Any], *, where: str = "augment"):
        self._chain = []
        self.crop: RandomCrop | None = None
        for name, given in settings.items():
            if name == CROP:
                self.crop = RandomCrop(strengths_of(random_box, name, given, where), where)
                continue
            if name not in FUNCTIONS:
                raise ConfigError(
                    102,
                    f"unknown transform '{name}'",
                    where=where,
                    fix=nearest(name, (*FUNCTIONS, CROP)),
                )
            function, draws = FUNCTIONS[name]
            self._chain.append((function, draws, strengths_of(function, name, given, where)))
        self.draws = sum(draws for _, draws, _ in self._chain)

    def __call__(
        self, images: Float[np.ndarray, "b h w c"], draws: Float[np.ndarray, "b k"]
    ) -> Float[np.ndarray, "b h w c"]:
        start = 0
        for function, count, strengths in self._chain:
            images = function(images, draws[:, start : start + count], **strengths)
            start += count
        return images


def strengths_of(
    function: Callable[..., Any], name: str, given: Any, where: str
) -> dict[str, float]:
    """The settings of one transform as its function's keywords, its third parameter on.

    A number is the first of them. Raises ConfigError for an unknown, missing or negative one.
    """
    parameters = list(inspect.signature(function).parameters.values())[2:]
    valid = [parameter.name for parameter in parameters]
    strengths = given if isinstance(given, Mapping) else {valid[0]: given}
    for key, value in strengths.items():
        if key not in valid:
            raise ConfigError(
                101,
                f"transform '{name}' has no strength '{key}'",
                where=where,
                fix=nearest(key, valid),
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise ConfigError(
                106,
                f"{name}.{key} = {value!r} is not a strength",
                where=where,
                fix="give a number, 0 or greater",
            )
    for parameter in parameters:
        if parameter.default is parameter.empty and parameter.name not in strengths:
            raise ConfigError(
                103, f"transform '{name}' needs '{parameter.name}'", where=where, fix="give it"
            )
    return {key: float(value) for key, value in strengths.items()}


def chain_of(
    settings: Mapping[str, Any], known: Mapping[str, Callable[..., Any]], where: str
) -> list[tuple[str, Callable[[Any, np.random.Generator], Any]]]:
    """Names and functions of two arguments, in the order of `settings`, their strengths given.

    Raises ConfigError for an unknown name or strength.
    """
    found: list[tuple[str, Callable[[Any, np.random.Generator], Any]]] = []
    for name, given in settings.items():
        if name not in known:
            raise ConfigError(
                102, f"unknown transform '{name}'", where=where, fix=nearest(name, known)
            )
        strengths = strengths_of(known[name], name, given, where)
        found.append((name, functools.partial(known[name], **strengths)))
    return found
