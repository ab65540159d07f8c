"""What pictures of explanations are made of: a sheet of pixels, letters, lines, heat and scales.

Places are set here by arithmetic, and letters are drawn once for all pictures that have them:
figures and axes of matplotlib, which find out for themselves where there is room, take ten times
as long. Its renderer draws the letters and lines.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import io
import itertools
import math

import matplotlib
import numpy as np
import PIL.Image
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import IdentityTransform

from mmjax.core.typing import Float
from mmjax.writers.console import printable

FOR, AGAINST, INK, MUTED = "#c2410c", "#1d4ed8", "#1b1f24", "#5d646d"
"""What speaks for the score, and against it: told apart also by who sees no red or green."""
WIDE, EDGE = 800, 4
"""Pixels of a sheet from side to side, and those at each side that stay white."""
_INCH = 100
"""Pixels; letters are sized in points, of which an inch has 72."""
_MARK = 4
"""Pixels of a scale's marks."""
_AROUND = 3
"""Pixels kept around letters, some of which lean out of their own place."""
_SCRIPTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK TC", "Noto Sans CJK KR"),
    *("Noto Sans SC", "Noto Sans TC", "Noto Sans JP", "Noto Sans KR"),
    *("WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Noto Sans Hebrew", "Noto Sans Devanagari"),
    *("Noto Sans Thai", "Noto Sans Bengali", "Arial Unicode MS"),
)
"""Fonts for letters that the bundled ones lack, where they are installed."""


class Sheet:
    """A white sheet. Places are pixels from its upper left corner."""

    def __init__(self, tall: int) -> None:
        self.pixels = np.full((tall, WIDE, 3), 255, np.uint8)

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: str | np.ndarray
    ) -> None:
        """A rectangle; its sides may be given the other way round."""
        rows = slice(*sorted((round(top), round(bottom))))
        columns = slice(*sorted((round(left), round(right))))
        self.pixels[rows, columns] = _bytes(_named(colour) if isinstance(colour, str) else colour)

    def picture(
        self, left: int, top: int, wide: int, tall: int, colours: Float[np.ndarray, "h w c"]
    ) -> None:
        """Colours in [0, 1]: each a block, or where there are many the mean of several."""
        image = PIL.Image.fromarray(_bytes(colours))
        image = image.resize((wide, tall), PIL.Image.Resampling.BOX)
        self.pixels[top : top + tall, left : left + wide] = np.asarray(image)

    def text(
        self,
        left: float,
        baseline: int,
        text: str,
        *,
        size: float = 8,
        colour: str = INK,
        mono: bool = False,
    ) -> None:
        """A line of text; what is over the right side is cut off, so `fit` it."""
        cover, above = _letters(text, size, mono)
        self._stain(max(round(left) - _AROUND, 0), baseline - above, cover, colour)

    def line(
        self,
        left: int,
        top: int,
        wide: int,
        tall: int,
        points: Float[np.ndarray, "n 2"],
        colour: str = INK,
    ) -> None:
        """A line through points, of which (0, 0) is the lower left and (1, 1) the upper right."""
        renderer = RendererAgg(wide, tall, _INCH)
        pen = renderer.new_gc()
        pen.set_linewidth(1)
        places = points * (wide - 1, tall - 1) + 0.5
        renderer.draw_path(pen, Path(places), IdentityTransform())
        self._stain(left, top, _cover(renderer), colour)

    def png(self) -> bytes:
        stream = io.BytesIO()
        image = PIL.Image.fromarray(self.pixels)
        # Of the higher levels each takes longer for hardly fewer bytes.
        image.save(stream, format="png", dpi=(_INCH, _INCH), compress_level=4)
        return stream.getvalue()

    def _stain(self, left: int, top: int, cover: Float[np.ndarray, "h w"], colour: str) -> None:
        """Colours what is covered, as much as it is."""
        if top < 0:
            cover, top = cover[-top:], 0
        below = self.pixels[top : top + len(cover), left : left + cover.shape[1]]
        share = cover[: below.shape[0], : below.shape[1], None]
        below[:] = below + (255 * _named(colour) - below) * share + 0.5


def _named(colour: str) -> Float[np.ndarray, "3"]:
    return np.array(to_rgb(colour))


def _bytes(colours: np.ndarray) -> np.ndarray:
    return (np.clip(finite(colours), 0, 1) * 255 + 0.5).astype(np.uint8)


def finite(values: np.ndarray) -> np.ndarray:
    """Numbers as they are, and 0 for what is none."""
    return np.where(np.isfinite(values), values, 0)


def clean(text: object) -> str:
    """Text as one line."""
    return printable(text).replace("\n", " ").replace("\t", " ")


@functools.lru_cache(4096)
def width(text: str, size: float = 8, mono: bool = False) -> int:
    """The pixels that a line of text takes."""
    return math.ceil(_extent(text, size, mono)[0])


@functools.lru_cache(4096)
def fit(text: str, room: int, size: float = 8, mono: bool = False) -> str:
    """As much of a text as there is room for, as one line."""
    plain = clean(text)[:999]
    if width(plain, size, mono) <= room:
        return plain
    kept = bisect.bisect_right(
        range(1, len(plain)), room, key=lambda n: width(plain[:n] + "…", size, mono)
    )
    return plain[:kept] + "…"


def _extent(text: str, size: float, mono: bool) -> tuple[float, float, float]:
    """The width and height of a line of text, and how far it goes below its baseline."""
    return _ruler().get_text_width_height_descent(text, _font(size, mono), False)


@functools.lru_cache(1024)
def _letters(text: str, size: float, mono: bool) -> tuple[Float[np.ndarray, "h w"], int]:
    """How much of each pixel a text covers, and how many rows are above its baseline."""
    wide, tall, down = _extent(text, size, mono)
    above, below = math.ceil(tall - down) + _AROUND, math.ceil(down) + _AROUND
    renderer = RendererAgg(math.ceil(wide) + 2 * _AROUND, above + below, _INCH)
    pen = renderer.new_gc()
    renderer.draw_text(pen, _AROUND, above, text, _font(size, mono), 0)
    return _cover(renderer), above


def _cover(renderer: RendererAgg) -> Float[np.ndarray, "h w"]:
    return np.asarray(renderer.buffer_rgba())[..., 3].astype(np.float32) / 255


@functools.cache
def _ruler() -> RendererAgg:
    return RendererAgg(1, 1, _INCH)


@functools.cache
def _font(size: float, mono: bool) -> FontProperties:
    """A font, and what stands in for it letter by letter."""
    installed = set(fontManager.get_font_names())
    others = [name for name in _SCRIPTS if name in installed]
    families = [*(["monospace"] if mono else []), "sans-serif", *others]
    return FontProperties(family=families, size=size)


def heat(
    values: Float[np.ndarray, "*s"],
    under: float | Float[np.ndarray, "..."],
    *,
    signed: bool,
    most: float | None = None,
) -> Float[np.ndarray, "*s 3"]:
    """Numbers as colours over others: nothing of 0 is seen, most of the largest size.

    `under` are colours [*s 3], greys [*s 1], or one number for all.
    """
    values = finite(values)
    largest = most or max(float(np.abs(values).max(initial=0.0)), 1e-12)
    opaque = 0.8 * np.clip(np.abs(values) / largest, 0, 1)[..., None] ** 0.7
    speaks_for = (values >= 0)[..., None] | (not signed)
    colour = np.where(speaks_for, _named(FOR), _named(AGAINST))
    return colour * opaque + under * (1 - opaque)


def over(
    picture: np.ndarray, values: np.ndarray, *, signed: bool, most: float | None = None
) -> Float[np.ndarray, "h w 3"]:
    """Heat over a picture in pale grey."""
    grey = rgb(picture).mean(axis=-1, keepdims=True)
    return heat(values, 0.35 + 0.65 * grey, signed=signed, most=most)


def rgb(picture: np.ndarray) -> Float[np.ndarray, "h w 3"]:
    """Three channels in [0, 1]."""
    values = picture if picture.ndim == 3 else picture[..., None]
    values = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    return np.clip(finite(values), 0.0, 1.0)


def shades(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Numbers from pale to dark."""
    return matplotlib.colormaps["Oranges"](stretched(values))[..., :3]


def stretched(values: np.ndarray) -> np.ndarray:
    """Numbers from 0, the least, to 1, the largest."""
    values = finite(values)
    low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
    return (values - low) / max(high - low, 1e-9)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Numbers along a side, from the pixel where the lowest is to that of the highest."""

    low: float
    high: float
    start: int
    end: int
    whole: bool = False
    """Whether marks are at whole numbers only."""

    def at(self, value: float) -> int:
        """The pixel of a number."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start))

    def marks(self, apart: int) -> list[tuple[int, str]]:
        """Round numbers, about as many pixels apart as is asked: where each is, and its text."""
        most = min(max(abs(self.end - self.start) // apart, 1), 9)
        locator = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=self.whole, min_n_ticks=1)
        near = (self.high - self.low) * 1e-6
        found = [
            float(one)
            for one in locator.tick_values(self.low, self.high)
            if self.low - near <= one <= self.high + near
        ]
        return [(self.at(one), text) for one, text in zip(found, written(found), strict=True)]

    def below(self, sheet: Sheet, top: int) -> None:
        """The scale as a picture's lower side."""
        sheet.box(self.start, top, self.end, top + 1, MUTED)
        for place, text in self.marks(65):
            sheet.box(place, top, place + 1, top + _MARK, INK)
            left = min(place - width(text, 7) / 2, WIDE - EDGE - width(text, 7))
            sheet.text(left, top + _MARK + 11, text, size=7)

    def beside(self, sheet: Sheet, left: int) -> None:
        """The scale as a picture's left side, which ends at `left`."""
        sheet.box(left - 1, self.start, left, self.end, MUTED)
        for place, text in self.marks(18):
            sheet.box(left - _MARK, place, left, place + 1, INK)
            sheet.text(left - _MARK - 2 - width(text, 7), place + 4, text, size=7)

    def room(self) -> int:
        """The pixels that the texts beside a picture take."""
        return _MARK + 2 + max((width(text, 7) for _, text in self.marks(18)), default=0)


def written(numbers: list[float]) -> list[str]:
    """Numbers of one scale as short as tells them apart, all in the same way."""
    step = min((b - a for a, b in itertools.pairwise(numbers)), default=1.0)
    found: list[str] = []
    for form in (".0f", ".1f", ".2f", ".3f", ".4f", ".5f", ".0e", ".1e", ".2e", ".12g"):
        found = [format(one + 0.0, form) for one in numbers]
        exact = all(abs(float(t) - n) <= step / 100 for t, n in zip(found, numbers, strict=True))
        if exact and max(map(len, found), default=0) <= 8:
            break
    return [text.replace("-", "\N{MINUS SIGN}") if float(text) else "0" for text in found]
