"""Generated pictures of coloured shapes, with boxes and captions: nothing that was photographed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Int
from mmjax.data.table import Table

SHAPES = ("circle", "square", "triangle")
COLOURS = {
    "red": (214, 48, 49),
    "green": (39, 174, 96),
    "blue": (41, 98, 217),
    "yellow": (241, 196, 15),
}
_NUMBERS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight")
_TRIES = 40
_MOST_OVERLAP = 0.1


@dataclasses.dataclass(frozen=True)
class GeneratedShapes:
    """`rows` drawn pictures of one to `most` circles, squares and triangles on noise.

    Columns: `image`, uint8 [size size 3]; `width` and `height`; `boxes`, a list of `{"box": [x, y,
    width, height], "label": shape}` in pixels, tight around what was drawn; `caption`, such as "two
    red circles and a blue square", None in a share `missing_captions` of the rows; and `split`:
    four fifths train, a tenth each validates and tests. Shapes are a sixth to two fifths of the
    picture's side and hardly overlap. Each row is a function of `seed` and its number alone.
    """

    rows: int = 3000
    size: int = 64
    most: int = 4
    noise: float = 0.2
    """Standard deviation of what is added to the pixels, as a share of their range."""
    missing_captions: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            "rows": self.rows < 10,
            "size": self.size < 8,
            "most": not 1 <= self.most < len(_NUMBERS),
            "noise": not 0 <= self.noise < np.inf,
            "missing_captions": not 0 <= self.missing_captions <= 1,
            "seed": self.seed < 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="source generated_shapes",
                fix=f"10 rows of 8 pixels or more, 1 to {len(_NUMBERS) - 1} shapes",
            )

    def read(self) -> Table:
        """All rows, those that train first."""
        names = ("image", "width", "height", "boxes", "caption", "split")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        held = max(1, self.rows // 10)
        for row in range(self.rows):
            image, boxes, caption = self._draw(row)
            split = "train" if row < self.rows - 2 * held else "validation"
            split = "test" if row >= self.rows - held else split
            cells = (image, self.size, self.size, boxes, caption, split)
            for name, cell in zip(names, cells, strict=True):
                columns[name].append(cell)
        digest = hashlib.sha256(repr(dataclasses.astuple(self)).encode())
        for image in columns["image"]:
            digest.update(image.tobytes())
        return Table(columns, "generated_shapes", digest.hexdigest())

    def _draw(self, row: int) -> tuple[np.ndarray, list[dict[str, Any]], str | None]:
        rng = np.random.default_rng((self.seed, row))
        grey = rng.uniform(40, 200, 3)
        pixels = np.empty((self.size, self.size, 3))
        pixels[:] = grey
        boxes: list[dict[str, Any]] = []
        told: Counter[tuple[str, str]] = Counter()
        for _ in range(int(rng.integers(1, self.most + 1))):
            shape, colour = str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS)))
            for _ in range(_TRIES):
                side = int(rng.integers(max(3, self.size // 6), 2 * self.size // 5 + 1))
                x, y = rng.integers(0, self.size - side + 1, 2).tolist()
                mask = _mask(shape, self.size, x, y, side)
                box = _tight(mask)
                if all(_overlap(box, one["box"]) <= _MOST_OVERLAP for one in boxes):
                    pixels[mask] = COLOURS[colour]
                    boxes.append({"box": box, "label": shape})
                    told[colour, shape] += 1
                    break
        pixels += rng.normal(0, 255 * self.noise, pixels.shape)
        caption = None if rng.random() < self.missing_captions else _caption(told)
        return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8), boxes, caption


def _mask(shape: str, size: int, x: int, y: int, side: int) -> np.ndarray:
    canvas = PIL.Image.new("1", (size, size))
    draw = PIL.ImageDraw.Draw(canvas)
    right, bottom = x + side - 1, y + side - 1
    if shape == "circle":
        draw.ellipse((x, y, right, bottom), fill=1)
    elif shape == "square":
        draw.rectangle((x, y, right, bottom), fill=1)
    else:
        draw.polygon([(x, bottom), (right, bottom), ((x + right) / 2, y)], fill=1)
    return np.asarray(canvas)


def _tight(mask: np.ndarray) -> list[int]:
    """[x, y, width, height] of what is drawn."""
    rows: Int[np.ndarray, "_"] = np.flatnonzero(mask.any(axis=1))
    columns: Int[np.ndarray, "_"] = np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]


def _overlap(a: list[int], b: list[int]) -> float:
    """The share of the smaller box that lies in the other."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(across, 0) * max(down, 0) / min(a[2] * a[3], b[2] * b[3])


def _caption(told: Counter[tuple[str, str]]) -> str:
    parts = [
        f"{_NUMBERS[count]} {colour} {shape}{'s' if count > 1 else ''}"
        for (colour, shape), count in sorted(told.items())
    ]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
