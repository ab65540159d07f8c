"""Random changes of training sounds: of the waveform, and of its bands over time.

Each is `f(sound, rng, **strengths)`: a waveform float32 [s] in [-1, 1], or features float32 [t f],
and the generator of this example; the shape stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Float
from mmjax.data.transforms.augment import strengths_of

Waveform = Float[np.ndarray, "s"]
Bands = Float[np.ndarray, "t f"]


def shift(waveform: Waveform, rng: np.random.Generator, share: float) -> Waveform:
    """Moved in time by up to `share` of its length either way; silence comes after it."""
    most = int(share * len(waveform))
    move = int(rng.integers(-most, most + 1))
    moved = np.zeros_like(waveform)
    if move >= 0:
        moved[move:] = waveform[: len(waveform) - move]
    else:
        moved[:move] = waveform[-move:]
    return moved


def gain(waveform: Waveform, rng: np.random.Generator, decibels: float) -> Waveform:
    """Louder or softer by up to `decibels`, uniformly."""
    return waveform * np.float32(10 ** (decibels * (2 * rng.random() - 1) / 20))


def noise(
    waveform: Waveform,
    rng: np.random.Generator,
    lowest: float,
    highest: float | None = None,
    probability: float = 1.0,
) -> Waveform:
    """White Gaussian noise at a ratio of signal to noise uniform in `lowest` to `highest` decibels
    (`lowest` alone if None), with `probability`. Silence stays.
    """
    highest = lowest if highest is None else highest
    chance, ratio = rng.random(2)
    added = rng.standard_normal(len(waveform), dtype=np.float32)
    if chance >= probability:
        return waveform
    signal = float(np.mean(np.square(waveform, dtype=np.float64)))
    wanted = signal / 10 ** ((lowest + (highest - lowest) * ratio) / 10)
    power = max(float(np.mean(np.square(added, dtype=np.float64))), np.finfo(np.float32).tiny)
    return waveform + added * np.float32(np.sqrt(wanted / power))


def time_mask(
    bands: Bands, rng: np.random.Generator, frames: float, masks: float = 1, share: float = 1.0
) -> Bands:
    """`masks` runs of up to `frames` frames, and of `share` of all, at the mean of all bands
    (SpecAugment: Park et al. 2019, section 2).
    """
    return _masked(bands, rng, min(int(frames), int(share * len(bands))), int(masks), axis=0)


def frequency_mask(bands: Bands, rng: np.random.Generator, width: float, masks: float = 1) -> Bands:
    """`masks` runs of up to `width` neighbouring bands at the mean of all (SpecAugment)."""
    return _masked(bands, rng, min(int(width), bands.shape[1]), int(masks), axis=1)


def _masked(bands: Bands, rng: np.random.Generator, most: int, masks: int, axis: int) -> Bands:
    changed = bands.copy()
    mean = bands.mean()
    for draw in rng.random((masks, 2)):
        width = int(draw[0] * (most + 1))
        start = int(draw[1] * (bands.shape[axis] - width + 1))
        run = [slice(None), slice(None)]
        run[axis] = slice(start, start + width)
        changed[tuple(run)] = mean
    return changed


_Function = Callable[..., np.ndarray]
WAVEFORM: Mapping[str, _Function] = {"gain": gain, "noise": noise, "shift": shift}
BANDS: Mapping[str, _Function] = {"frequency_mask": frequency_mask, "time_mask": time_mask}


class AugmentSound:
    """The transforms of `settings`: those of waveforms, then those of bands, each in its order.

    `{"noise": {"lowest": 5, "highest": 30}, "time_mask": 40}`: a number is the function's first
    strength. Raises ConfigError for an unknown name or strength.
    """

    def __init__(self, settings: Mapping[str, Any], *, where: str = "augment"):
        self._waveform: list[tuple[_Function, dict[str, float]]] = []
        self._bands: list[tuple[_Function, dict[str, float]]] = []
        for name, given in settings.items():
            if name not in WAVEFORM and name not in BANDS:
                raise ConfigError(
                    102,
                    f"unknown transform '{name}'",
                    where=where,
                    fix=nearest(name, (*WAVEFORM, *BANDS)),
                )
            function = {**WAVEFORM, **BANDS}[name]
            chain = self._waveform if name in WAVEFORM else self._bands
            chain.append((function, strengths_of(function, name, given, where)))

    @property
    def of_bands(self) -> bool:
        """Whether any transform needs bands."""
        return bool(self._bands)

    def waveform(self, waveform: Waveform, rng: np.random.Generator) -> Waveform:
        """The waveform, changed."""
        for function, strengths in self._waveform:
            waveform = function(waveform, rng, **strengths)
        return waveform

    def bands(self, bands: Bands, rng: np.random.Generator) -> Bands:
        """The features, changed."""
        for function, strengths in self._bands:
            bands = function(bands, rng, **strengths)
        return bands
