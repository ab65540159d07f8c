"""A chain of named picture transforms from plain settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Float
from mmjax.data.transforms import colour, geometric


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
    "rotate": Transform(geometric.rotate, 1),
    "shift": Transform(geometric.shift, 2),
}


class Augment:
    """The transforms of `settings`, applied in the order they are given.

    `{"shift": 3, "jitter": {"brightness": 0.2, "hue": 0.05}}`: a number is the function's first
    strength, a mapping its strengths by name. `draws` uniform numbers a picture are needed. Raises
    ConfigError for an unknown name or strength.
    """

    def __init__(self, settings: Mapping[str, Any], *, where: str = "augment"):
        self._chain = []
        for name, given in settings.items():
            if name not in FUNCTIONS:
                raise ConfigError(
                    102, f"unknown transform '{name}'", where=where, fix=nearest(name, FUNCTIONS)
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
