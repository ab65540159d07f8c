"""Small data sets that are drawn by a program, to show a scenario from end to end without files.

They stand for no real data: what a model reaches on them says that the parts work together, and
nothing of cars, patients or callers. In each, the label needs every modality by construction.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Float, Shaped
from mmjax.data.table import Table

Scene = Literal["customer_service", "driving", "medical", "sounds", "clips"]
RATE = 4000
"""Samples a second of generated sounds."""

_SIGNS = {"stop": (200, 30, 30), "limit": (30, 60, 200), "none": None}
_HISTORIES = {
    "smoker": ("smoked for twenty years", "a smoker since youth", "two packs a day"),
    "operated": ("an operation last year", "after surgery of the chest", "was operated on"),
    "well": ("no complaints", "a routine check", "in good health"),
}
_TOPICS = {
    "parcel": ("where is my parcel", "the delivery of my order", "about a package"),
    "bill": ("the invoice of may", "a charge on my card", "about my bill"),
    "login": ("my password", "the sign in page", "about my account"),
}
_TAGS = ("low tone", "high tone", "noise", "clicks")
_ACTIONS = ("left", "right")


@dataclasses.dataclass(frozen=True)
class Generated:
    """`rows` generated rows of one scene, each split drawn alike: 60 % train, 20 % validate.

    - "driving": `camera` (uint8 [16 16 3], with a sign or none), `radar` (float32 [24 1], echoes by
      distance), `speed` and `junction` (of a GPS: metres a second, metres to the next one); `sign`,
      `decision`, and `label`, both in one.
    - "medical": `scan` (uint8 [8 16 16 1], slices with a nodule, a large one or none), `history`
      (text), `label`, a finding.
    - "customer_service": `speech` (float32 [s] at 4 kHz, a calm or an angry voice), `text`,
      `label`, an intent.
    - "sounds": `sound` (float32 [s] at 4 kHz), `tags`, those of four sounds that are mixed in it.
    - "clips": `clip` (uint8 [16 12 12 1], a spot that moves now and then), `sensor` (float32
      [32 1], a reading that is high while the camera's picture is mirrored), `segments` of one
      second at most 2, at 8 frames and 16 readings a second.

    Also `index` and `split`. A row depends on `seed` and its number alone.
    """

    scene: Scene = "driving"
    rows: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scene not in _SCENES or self.rows < 10 or self.seed < 0:
            raise ConfigError(
                106,
                f"scene = {self.scene!r}, rows = {self.rows}, seed = {self.seed}",
                where="source generated",
                fix=f"one of {', '.join(_SCENES)}, 10 rows or more, and a seed of 0 or more",
            )

    def read(self) -> Table:
        """All rows."""
        scenes = list(_SCENES)
        columns: dict[str, list[Any]] = {"index": list(range(self.rows)), "split": []}
        for row in range(self.rows):
            split = ("train", "train", "train", "validation", "test")[row % 5]
            rng = np.random.default_rng((self.seed, scenes.index(self.scene), row))
            for name, cell in {"split": split, **_SCENES[self.scene](rng)}.items():
                columns.setdefault(name, []).append(cell)
        digest = hashlib.sha256(f"{self} 2".encode()).hexdigest()
        return Table(columns, f"generated_{self.scene}", digest)


def _driving(rng: np.random.Generator) -> dict[str, Any]:
    sign = str(rng.choice(list(_SIGNS)))
    camera = rng.integers(60, 140, (16, 16, 3))
    top, left = rng.integers(0, 11, 2)
    colour = _SIGNS[sign]
    if colour is not None:
        camera[top : top + 5, left : left + 5] = colour
    near = bool(rng.random() < 0.3)
    radar = np.abs(rng.normal(0, 0.2, (24, 1)))
    radar[int(rng.integers(1, 7) if near else rng.integers(12, 23))] += 1.5
    speed, junction = float(rng.uniform(4, 24)), float(rng.uniform(5, 95))
    decision = "go"
    if sign == "limit" and speed > 14:
        decision = "slow"
    if near or (sign == "stop" and junction < 50):
        decision = "brake"
    return {
        "camera": camera.astype(np.uint8),
        "radar": radar.astype(np.float32),
        "speed": round(speed, 2),
        "junction": round(junction, 1),
        "sign": sign,
        "decision": decision,
        "label": f"{sign}, {decision}",
    }


def _medical(rng: np.random.Generator) -> dict[str, Any]:
    radius = float(rng.choice([0.0, 1.7, 3.2]))
    history = str(rng.choice(list(_HISTORIES)))
    place = rng.uniform([2, 4, 4], [6, 12, 12])
    grid = np.moveaxis(np.indices((8, 16, 16)), 0, -1)
    inside = np.linalg.norm(grid - place, axis=-1) < radius
    scan = np.clip(rng.normal(90, 18, inside.shape) + 80 * inside, 0, 255)
    finding = {
        "smoker": ("nothing", "follow up", "tumour"),
        "operated": ("nothing", "scar", "scar"),
        "well": ("nothing", "nothing", "follow up"),
    }[history][(0.0, 1.7, 3.2).index(radius)]
    return {
        "scan": scan.astype(np.uint8)[..., None],
        "history": str(rng.choice(_HISTORIES[history])),
        "label": finding,
    }


def _customer_service(rng: np.random.Generator) -> dict[str, Any]:
    topic, angry = str(rng.choice(list(_TOPICS))), bool(rng.random() < 0.5)
    # A voice that rises and is raised again and again, or one that falls evenly.
    pitch = rng.uniform(180, 260) * (
        np.linspace(1, 1.8, 2000) if angry else np.linspace(1, 0.8, 2000)
    )
    beat = 0.6 + 0.4 * np.sign(np.sin(2 * np.pi * np.arange(2000) / (250 if angry else 1000)))
    speech = beat * _wave(pitch) + rng.normal(0, 0.15, 2000)
    return {
        "speech": (0.4 * speech).astype(np.float32),
        "text": str(rng.choice(_TOPICS[topic])),
        "label": f"{'complain' if angry else 'ask'}: {topic}",
    }


def _sounds(rng: np.random.Generator) -> dict[str, Any]:
    there = rng.random(len(_TAGS)) < 0.4
    steps = np.arange(2000)
    made = (
        _wave(np.full(2000, rng.uniform(150, 300))),
        _wave(np.full(2000, rng.uniform(900, 1600))),
        rng.normal(0, 0.6, 2000),
        2.0 * (steps % int(rng.integers(200, 400)) < 8),
    )
    sound = 0.05 * rng.normal(size=2000)
    for one, is_there in zip(made, there, strict=True):
        length = int(rng.integers(800, 1600))
        start = int(rng.integers(0, 2000 - length))
        part = (steps >= start) & (steps < start + length)
        sound += is_there * rng.uniform(0.5, 1.0) * one * part
    tags = [name for name, is_there in zip(_TAGS, there, strict=True) if is_there]
    return {"sound": (0.3 * sound).astype(np.float32), "tags": tags}


def _clips(rng: np.random.Generator) -> dict[str, Any]:
    mirrored = bool(rng.random() < 0.5)
    clip = rng.integers(0, 60, (16, 12, 12, 1))
    place = 6
    segments: list[dict[str, Any]] = []
    directions = np.zeros(16, int)
    start = int(rng.integers(0, 4))
    for _ in range(2):
        length, way = int(rng.integers(4, 7)), int(rng.choice([-1, 1]))
        directions[start : start + length] = way
        label = _ACTIONS[int((way > 0) != mirrored)]
        segments.append({"start": start / 8, "end": min(start + length, 16) / 8, "label": label})
        start += length + 2
    for frame, way in zip(clip, directions, strict=True):
        # The head of a moving spot is brighter than its tail, which one frame shows.
        frame[5:7, place, 0] = 160
        if way:
            frame[5:7, (place + way) % 12, 0] = 255
        place = (place + way) % 12
    sensor = rng.normal(2.0 * mirrored, 0.7, (32, 1))
    return {
        "clip": clip.astype(np.uint8),
        "sensor": sensor.astype(np.float32),
        "segments": [one for one in segments if one["start"] < one["end"]],
    }


def _wave(pitch: Float[np.ndarray, "s"]) -> Shaped[np.ndarray, "s"]:
    return np.sin(2 * np.pi * np.cumsum(pitch) / RATE)


_SCENES: Mapping[str, Callable[[np.random.Generator], dict[str, Any]]] = {
    "customer_service": _customer_service,
    "driving": _driving,
    "medical": _medical,
    "sounds": _sounds,
    "clips": _clips,
}
