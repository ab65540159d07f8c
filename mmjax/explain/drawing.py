"""The picture of an explanation: the inputs, and on them what matters."""

from __future__ import annotations

import dataclasses
import unicodedata
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from mmjax.core.typing import Float
from mmjax.explain import panels
from mmjax.explain.explanation import Explanation, Part
from mmjax.explain.panels import EDGE, INK, MUTED, WIDE, Scale, Sheet, fit, width

_TEXTS = ("text", "texts", "dialogue", "packed_text")
_MOST_BARS = 24
_MOST_LINES = 40
_FRAMES = 8
_WORDS = 6
"""Words of which a pair's maps are drawn."""
_INSIDE = WIDE - 2 * EDGE
_HEAD, _TITLE = 24, 20
"""Pixels that the picture's title takes, and a strip's."""
_LINE = 26
"""Pixels from one line of words to the next."""
_BAR = 22
_SCALE = 18
"""Pixels that the texts below a scale take."""
_TALLEST = 192
"""Pixels of a picture from top to bottom."""
_APART = 8


@dataclasses.dataclass(frozen=True)
class Strip:
    """What goes from side to side of a picture below its own title."""

    name: str
    tall: int
    draw: Callable[[Sheet, int], None]
    """Called with the sheet and the row of pixels to begin at."""


def png(explanation: Explanation) -> bytes:
    """The picture as PNG: a strip a modality, one of the modalities' numbers, one a pair."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        strips = _strips(explanation)
        sheet = Sheet(_HEAD + sum(_TITLE + strip.tall + _APART for strip in strips))
        sheet.text(EDGE, 15, _head(explanation), size=10)
        top = _HEAD
        for strip in strips:
            sheet.text(EDGE, top + 14, fit(strip.name, _INSIDE, 9), size=9, colour=MUTED)
            strip.draw(sheet, top + _TITLE)
            top += _TITLE + strip.tall + _APART
        return sheet.png()


def _head(explanation: Explanation) -> str:
    """What is explained, which may be long, and the score behind it."""
    score = f" = {explanation.score:.3g}"
    what = f"{explanation.method}: {explanation.explained}"
    return fit(what, _INSIDE - width(score, 10) - _APART, 10) + score


def _strips(explanation: Explanation) -> list[Strip]:
    found = []
    if len(explanation.modalities) > 1:
        found.append(_bars(list(explanation.modalities.items()), "modalities"))
    found.extend(_strip(part, name) for name, part in explanation.parts.items())
    for pair, maps in explanation.pairs.items():
        asking, _, asked = pair.partition("<-")
        words, other = explanation.parts.get(asking), explanation.parts.get(asked)
        if words is None or other is None or not words.names:
            continue
        if other.shown is None or other.kind not in ("image", "video"):
            found.append(_matrix(words.names, maps, pair))
        else:
            found.append(_maps(words.names, maps, other, pair))
    return found


def _strip(part: Part, name: str) -> Strip:
    if part.names and part.kind in _TEXTS:
        return _coloured(part, name)
    if part.names:
        return _bars(part.named(), name)
    if part.shown is None or part.values.ndim == 1:
        return _line(part, name)
    if part.kind in ("image", "video", "volume"):
        return _pictures(part, name)
    return _spectrogram(part, name)


def _bars(numbers: Sequence[tuple[str, float]], name: str) -> Strip:
    """Numbers by name, the largest first where there are many."""
    kept = list(numbers)
    if len(kept) > _MOST_BARS:
        kept = sorted(kept, key=lambda one: -abs(one[1]))[:_MOST_BARS]
    names = [fit(one, WIDE // 3) for one, _ in kept]
    values = panels.finite(np.array([value for _, value in kept]))
    low, high = (1.04 * float(one) for one in (values.min(initial=0), values.max(initial=0)))
    if low == high:
        low, high = -1.0, 1.0
    left = EDGE + max(map(width, names), default=0) + _APART
    scale = Scale(low, high, left, WIDE - EDGE)
    end = _BAR * len(kept)

    def draw(sheet: Sheet, top: int) -> None:
        for row, (value, text) in enumerate(zip(values.tolist(), names, strict=True)):
            at = top + _BAR * row
            colour = panels.FOR if value >= 0 else panels.AGAINST
            sheet.box(scale.at(0), at + 2, scale.at(value), at + _BAR - 2, colour)
            sheet.text(left - _APART - width(text), at + 15, text)
        for place, colour in ((left, MUTED), (scale.at(0), INK)):
            sheet.box(place, top, place + 1, top + end, colour)
        scale.below(sheet, top + end)

    return Strip(name, end + _SCALE, draw)


def _coloured(part: Part, name: str) -> Strip:
    """Words on their colours."""
    numbers = np.array([value for _, value in part.named()])
    colours = panels.heat(numbers, 1.0, signed=part.signed)
    lines = _lines(part.names)

    def draw(sheet: Sheet, top: int) -> None:
        for row, line in enumerate(lines):
            at = top + _LINE * row
            for left, index, word in line:
                right = left + width(word, 9, mono=True)
                sheet.box(left - 2, at + 3, right + 2, at + _LINE - 3, colours[index])
                sheet.text(left, at + 17, word, size=9, mono=True)

    return Strip(name, _LINE * len(lines), draw)


def _lines(words: Sequence[str]) -> list[list[tuple[int, int, str]]]:
    """Words by line: where each begins, its number, and how it is written."""
    lines: list[list[tuple[int, int, str]]] = [[]]
    first, last = EDGE + 2, WIDE - EDGE - 2
    leftwards = _leftwards(words)
    at = first
    for index, name in enumerate(words):
        word = fit(name, last - first, 9, mono=True)
        wide = width(word, 9, mono=True)
        if at > first and at + wide > last:
            lines.append([])
            at = first
        lines[-1].append((first + last - at - wide if leftwards else at, index, word))
        at += wide + _APART
    return lines[:_MOST_LINES]


def _leftwards(words: Sequence[str]) -> bool:
    """Whether words go from right to left, as the first letter that has a direction tells."""
    directions = (unicodedata.bidirectional(letter) for word in words for letter in word)
    return next((one in ("R", "AL") for one in directions if one in ("L", "R", "AL")), False)


def _pictures(part: Part, name: str) -> Strip:
    """Pictures, beside each the same with its heat, or of many that alone."""
    pictures, values = _seen(part)
    if not part.signed:
        values = values - values.min()
    several = part.kind in ("video", "volume") or len(pictures) > 1
    most = float(np.abs(panels.finite(values)).max(initial=0.0)) or 1.0
    kept = _evenly(len(pictures), _FRAMES)
    beside = not (several and len(kept) > 3)
    border = 5 if part.kind == "video" else 0
    apart = _APART + border
    wide, tall = _size(pictures, len(kept) * (2 if beside else 1), apart, border)
    sums = np.abs(values.reshape(len(values), -1)).sum(axis=1)
    shares = sums / max(float(sums.max(initial=0.0)), 1e-12)

    def draw(sheet: Sheet, top: int) -> None:
        left, top = EDGE + border, top + border
        for index in kept:
            if beside:
                sheet.picture(left, top, wide, tall, panels.rgb(pictures[index]))
                left += wide + apart
            if border:
                _mark(sheet, left, top, wide, tall, float(shares[index]))
            seen = panels.over(pictures[index], values[index], signed=part.signed, most=most)
            sheet.picture(left, top, wide, tall, seen)
            left += wide + apart

    return Strip(name, tall + 2 * border, draw)


def _size(pictures: np.ndarray, count: int, apart: int, border: int = 0) -> tuple[int, int]:
    """The width and height of each of several pictures beside one another."""
    tall, wide = pictures.shape[1:3]
    room = (_INSIDE - 2 * border - apart * (count - 1)) // count
    times = min(room / wide, _TALLEST / tall)
    return max(round(wide * times), 1), max(round(tall * times), 1)


def _mark(sheet: Sheet, left: int, top: int, wide: int, tall: int, share: float) -> None:
    """A frame's border, the thicker the more it matters."""
    thick = 1 + round(4 * share)
    colour = panels.FOR if share > 0 else MUTED
    sheet.box(left - thick, top - thick, left + wide + thick, top + tall + thick, colour)


def _seen(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [n h w c] and their numbers [n h w]."""
    assert part.shown is not None
    if part.kind == "image" and part.values.ndim == 2:
        return part.shown[None], part.values[None]
    return panels.stretched(part.shown) if part.kind == "volume" else part.shown, part.values


def _spectrogram(part: Part, name: str) -> Strip:
    """Frames to the right, bands upwards: as they are, and with their heat."""
    assert part.shown is not None
    grey = np.swapaxes(panels.stretched(part.shown), 0, 1)[::-1]
    values = np.swapaxes(part.values if part.signed else part.values - part.values.min(), 0, 1)
    bands, frames = grey.shape
    tall = 122
    room = Scale(-0.5, bands - 0.5, tall, 0, whole=True).room()
    wide = (_INSIDE - 2 * room - 2 * _APART) // 2

    def draw(sheet: Sheet, top: int) -> None:
        left = EDGE + room
        for colours in (panels.rgb(grey), panels.over(grey, values[::-1], signed=part.signed)):
            sheet.picture(left, top, wide, tall, colours)
            Scale(-0.5, bands - 0.5, top + tall, top, whole=True).beside(sheet, left)
            Scale(-0.5, frames - 0.5, left, left + wide, whole=True).below(sheet, top + tall)
            left += wide + room + 2 * _APART
        middle = EDGE + room + (wide - width("frame")) / 2
        sheet.text(middle, top + tall + _SCALE + 10, "frame")

    return Strip(name, tall + _SCALE + 14, draw)


def _line(part: Part, name: str) -> Strip:
    """Places in a row: a line of what was there, on bands of what matters."""
    values = panels.finite(part.values.reshape(-1))
    shown = values if part.shown is None else part.shown.reshape(len(part.shown), -1)[:, 0]
    seen = panels.finite(shown)
    low, high = float(seen.min(initial=np.inf)), float(seen.max(initial=-np.inf))
    if not low < high:
        low, high = (low - 0.5, low + 0.5) if len(seen) else (0.0, 1.0)
    count, tall = len(values), 140
    left = EDGE + Scale(low, high, tall, 0).room()
    wide = WIDE - EDGE - left
    # The first place is half a place from the left.
    along = (np.linspace(0, count - 1, len(seen)) + 0.5) / max(count, 1)
    points = np.stack([along, (seen - low) / (high - low)], axis=1)

    def draw(sheet: Sheet, top: int) -> None:
        if count:
            band = panels.heat(values, 1.0, signed=part.signed)[None]
            sheet.picture(left, top, wide, tall, band)
            sheet.line(left, top, wide, tall, points)
        Scale(low, high, top + tall, top).beside(sheet, left)
        Scale(-0.5, max(count, 1) - 0.5, left, left + wide, whole=True).below(sheet, top + tall)

    return Strip(name, tall + _SCALE, draw)


def _maps(words: Sequence[str], maps: Float[np.ndarray, "w ..."], other: Part, name: str) -> Strip:
    """Where in pictures the words of a text go, of the words with the most."""
    shares = maps.reshape(len(maps), -1)
    order = np.argsort(-shares.max(axis=1), kind="stable")[:_WORDS]
    pictures, _ = _seen(other)
    wide, tall = _size(pictures, _WORDS, _APART)
    cell = _size(np.empty((1, 1, 1)), _WORDS, _APART)[0]

    def draw(sheet: Sheet, top: int) -> None:
        left = EDGE
        for index in sorted(order.tolist()):
            values = maps[index].reshape(len(pictures), *pictures.shape[1:3])
            best = int(values.reshape(len(values), -1).max(axis=1).argmax())
            seen = panels.over(pictures[best], values[best] - values.min(), signed=False)
            sheet.text(left, top + 10, fit(words[index], cell))
            sheet.picture(left, top + 16, wide, tall, seen)
            left += cell + _APART

    return Strip(name, tall + 16, draw)


def _matrix(words: Sequence[str], maps: Float[np.ndarray, "w ..."], name: str) -> Strip:
    """Of each word, from top to bottom, a row of the other modality's places."""
    values = maps.reshape(len(maps), -1)
    rows, columns = values.shape
    names = [fit(word, WIDE // 6, 7) for word in words] if len(words) <= _MOST_BARS else []
    tall = max(15 * rows, 30) if names else 150
    down = Scale(-0.5, rows - 0.5, 0, tall, whole=True)
    room = max((width(one, 7) for one in names), default=0) + 6 if names else down.room()
    left = EDGE + room

    def draw(sheet: Sheet, top: int) -> None:
        sheet.picture(left, top, WIDE - EDGE - left, tall, panels.shades(values))
        for row, text in enumerate(names):
            sheet.text(left - 6 - width(text, 7), top + down.at(row) + 4, text, size=7)
        if not names:
            dataclasses.replace(down, start=top, end=top + tall).beside(sheet, left)
        Scale(-0.5, columns - 0.5, left, WIDE - EDGE, whole=True).below(sheet, top + tall)

    return Strip(name, tall + _SCALE, draw)


def _evenly(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return np.linspace(0, count - 1, most).round().astype(int).tolist()
