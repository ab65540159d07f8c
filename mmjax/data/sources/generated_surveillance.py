"""Generated scenes of a yard, seen and heard: nothing that any camera has filmed."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Float, Int
from mmjax.data.table import Table

NORMAL = "normal"
KINDS = ("fallen", "bang", "running", "unseen")
RATE = 4000
"""Samples a second."""
FRAMES, SIDE, SECONDS = 8, 16, 1.0

_GROUND = 12
"""The row of pixels that everything stands on."""


@dataclasses.dataclass(frozen=True)
class GeneratedSurveillance:
    """`rows` scenes of one second: eight frames of 16 x 16 pixels, and what a microphone hears.

    Normal is a yard that is empty, or crossed by a walker, whose steps are heard, or by a car,
    whose engine is the higher the faster it goes. Not normal are someone who has "fallen" and lies
    there, a "bang" over a normal scene, someone "running", and a car or steps that are heard
    "unseen". Columns: `clip` (uint8 frames [8 16 16 1]), `sound` (float32 [4000] at 4 kHz, None in
    a share `muted` of the rows), `kind` and `split`. Two thirds of the rows train, all of them
    normal; an eighth is validation, a fourth of that not normal; of the others, which test, half
    are not. Each row is a function of `seed` and its number alone.
    """

    rows: int = 1200
    noise: float = 0.1
    """Standard deviation of what is added to pixels, as a share of their range, and of a fifth of
    that to samples."""
    muted: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "rows": self.rows < 24,
            "noise": not 0 <= self.noise <= 1,
            "muted": not 0 <= self.muted <= 1,
            "seed": self.seed < 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="source generated_surveillance",
                fix="24 rows or more, shares from 0 to 1",
            )

    def read(self) -> Table:
        """All rows, those that train first."""
        names = ("clip", "sound", "kind", "split")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        trains, held = 2 * self.rows // 3, self.rows // 8
        for row in range(self.rows):
            split = "train" if row < trains else "validation"
            split = "test" if row >= trains + held else split
            every = {"train": 0, "validation": 4, "test": 2}[split]
            odd = every and row % every == 0
            kind = KINDS[row // every % len(KINDS)] if odd else NORMAL
            clip, sound = self._scene(row, kind)
            for name, cell in zip(names, (clip, sound, kind, split), strict=True):
                columns[name].append(cell)
        digest = hashlib.sha256(repr(dataclasses.astuple(self)).encode())
        for clip, sound in zip(columns["clip"], columns["sound"], strict=True):
            digest.update(clip.tobytes() + (b"" if sound is None else sound.tobytes()))
        return Table(columns, "generated_surveillance", digest.hexdigest())

    def _scene(self, row: int, kind: str) -> tuple[np.ndarray, np.ndarray | None]:
        rng = np.random.default_rng((self.seed, row))
        seen = str(rng.choice(("nobody", "walker", "car"), p=(0.2, 0.4, 0.4)))
        speed = float(rng.uniform(0.7, 1.3))
        if kind in ("fallen", "running"):
            seen = "walker"
        heard = seen
        if kind == "unseen":
            heard = str(rng.choice([one for one in ("walker", "car") if one != seen]))
        if kind == "running":
            speed *= 2.2
        clip = _clip(rng, "fallen" if kind == "fallen" else seen, speed)
        sound = _sound(rng, "nobody" if kind == "fallen" else heard, speed)
        if kind == "bang":
            sound = sound + _bang(rng)
        clip = clip + rng.normal(0, 255 * self.noise, clip.shape)
        sound = sound + rng.normal(0, self.noise / 5, sound.shape)
        # Where only the sound is odd, a microphone that is off would leave a normal row.
        muted = rng.random() < self.muted and kind not in ("bang", "unseen")
        pixels = np.rint(np.clip(clip, 0, 255)).astype(np.uint8)
        return pixels, None if muted else np.clip(sound, -1, 1).astype(np.float32)


def _clip(rng: np.random.Generator, what: str, speed: float) -> Float[np.ndarray, "t h w c"]:
    """Frames before noise: a yard under some light, and what is in it."""
    light = rng.uniform(70, 110)
    frames = np.full((FRAMES, SIDE, SIDE, 1), light)
    frames[:, _GROUND:] = light - 30
    shade = light + rng.uniform(70, 110)
    start, way = rng.uniform(0, 6), rng.choice((-1, 1))
    for time, frame in enumerate(frames):
        if what == "walker":
            _fill(frame, start + 0.8 * speed * time, 2, 6, shade, way)
        elif what == "car":
            _fill(frame, start - 5 + 1.8 * speed * time, 6, 3, shade, way)
        elif what == "fallen":
            _fill(frame, start + 3, 6, 2, shade, way)
    return frames


def _fill(frame: np.ndarray, left: float, width: int, height: int, shade: float, way: int) -> None:
    """A block on the ground; `way` -1 is the mirrored scene."""
    places: Int[np.ndarray, "_"] = np.arange(round(left), round(left) + width)
    places = places[(places >= 0) & (places < SIDE)]
    places = places if way > 0 else SIDE - 1 - places
    frame[_GROUND - height : _GROUND, places] = shade


def _sound(rng: np.random.Generator, what: str, speed: float) -> Float[np.ndarray, "s"]:
    times = np.arange(int(RATE * SECONDS)) / RATE
    if what == "walker":
        rhythm = 4.0 * speed
        since = (times + rng.uniform(0, 1 / rhythm)) % (1 / rhythm)
        return 0.3 * np.exp(-since / 0.02) * np.sin(2 * np.pi * 600 * since)
    if what == "car":
        pitch, phase = 120 * speed, rng.uniform(0, 1)
        waves = (np.sin(2 * np.pi * k * (pitch * times + phase)) / k for k in (1, 2, 3))
        return 0.15 * np.sum(list(waves), axis=0)
    return np.zeros(len(times))


def _bang(rng: np.random.Generator) -> Float[np.ndarray, "s"]:
    times = np.arange(int(RATE * SECONDS)) / RATE
    since = times - rng.uniform(0.1, 0.7)
    loudness = np.where(since >= 0, np.exp(-np.maximum(since, 0) / 0.05), 0)
    return 0.5 * loudness * rng.standard_normal(len(times))
