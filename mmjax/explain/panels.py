"""Drawing one modality with what matters in it: words, pictures, sounds, frames, columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from mmjax.core.typing import Float
from mmjax.explain.explanation import Part
from mmjax.writers.console import printable

FOR, AGAINST, INK, MUTED = "#c2410c", "#1d4ed8", "#1b1f24", "#5d646d"
"""What speaks for the score, and against it: told apart also by who sees no red or green."""
_LETTERS = 92
"""Letters of a line of words."""
_FRAMES = 8
_MOST_BARS = 24
_WORDS = 6
"""Words of which a pair's maps are drawn."""


def height(part: Part) -> float:
    """The inches that a part takes."""
    if part.kind == "table" or (part.names and part.kind not in _TEXTS):
        return 0.5 + 0.22 * min(len(part.names), _MOST_BARS)
    if part.names:
        return 0.5 + 0.3 * len(_lines(part))
    if part.shown is None:
        return 1.2
    if part.kind in ("image", "volume"):
        return 2.4
    return 1.9


_TEXTS = ("text", "texts", "dialogue", "packed_text")


def draw(place: SubFigure, part: Part, name: str) -> None:
    """One part, titled by its modality."""
    if part.names and part.kind in _TEXTS:
        _words(place, part, name)
    elif part.names:
        bars(place, dict(part.named()), name)
    elif part.shown is None or part.values.ndim == 1:
        _line(place, part, name)
    elif part.kind in ("image", "video", "volume"):
        _pictures(place, part, name)
    else:
        _spectrogram(place, part, name)


def heat(values: Float[np.ndarray, "*s"], *, signed: bool, most: float | None = None) -> np.ndarray:
    """Numbers as colours with transparency [*s 4]: none at 0, most at the largest size."""
    largest = most or max(float(np.abs(values).max(initial=0.0)), 1e-12)
    share = np.clip(np.abs(values) / largest, 0, 1)
    colour = np.empty((*values.shape, 4))
    for_, against = (
        np.array([int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for one in (FOR, AGAINST)
    )
    colour[..., :3] = np.where((values >= 0)[..., None] | (not signed), for_, against)
    colour[..., 3] = 0.8 * share**0.7
    return colour


def bars(place: SubFigure, numbers: Mapping[str, float], name: str) -> None:
    """Numbers by name, the largest first where there are many."""
    axes = place.subplots()
    kept = list(numbers.items())
    if len(kept) > _MOST_BARS:
        kept = sorted(kept, key=lambda one: -abs(one[1]))[:_MOST_BARS]
    values = np.array([value for _, value in kept])
    axes.barh(range(len(kept)), values, color=[FOR if v >= 0 else AGAINST for v in values])
    axes.set_yticks(range(len(kept)), [_short(one, 40) for one, _ in kept])
    axes.invert_yaxis()
    axes.axvline(0, color=INK, linewidth=0.6)
    _plain(axes)
    axes.tick_params(labelsize=8)
    _title(axes, name)


def _words(place: SubFigure, part: Part, name: str) -> None:
    axes = place.subplots()
    axes.set_axis_off()
    lines = _lines(part)
    numbers = [value for _, value in part.named()]
    largest = max((abs(value) for value in numbers), default=0.0)
    axes.set(xlim=(0, _LETTERS), ylim=(len(lines), 0))
    for row, line in enumerate(lines):
        for start, index, word in line:
            colour = heat(np.array(numbers[index]), signed=part.signed, most=largest or 1.0)
            box = {"facecolor": tuple(colour.tolist()), "edgecolor": "none", "pad": 1.5}
            axes.text(start, row + 0.5, word, family="monospace", fontsize=9, va="center", bbox=box)
    _title(axes, name)


def _lines(part: Part) -> list[list[tuple[int, int, str]]]:
    """Words by line: where each begins, its number, and how it is written."""
    lines: list[list[tuple[int, int, str]]] = [[]]
    at = 0
    for index, name in enumerate(part.names):
        word = _short(name, _LETTERS - 4)
        if at and at + len(word) > _LETTERS:
            lines.append([])
            at = 0
        lines[-1].append((at, index, word))
        at += len(word) + 1
    return lines[:40]


def _pictures(place: SubFigure, part: Part, name: str) -> None:
    pictures, values = _seen(part)
    values = _from_least(values, part)
    several = part.kind in ("video", "volume") or len(pictures) > 1
    most = float(np.abs(values).max(initial=0.0)) or 1.0
    kept = _evenly(len(pictures), _FRAMES)
    beside = 1 if several and len(kept) > 3 else 2
    axes = place.subplots(1, max(len(kept) * beside, 3), squeeze=False)[0]
    for one in axes:
        one.set_axis_off()
    sums = np.abs(values.reshape(len(values), -1)).sum(axis=1)
    for column, index in enumerate(kept):
        own = axes[column * beside : (column + 1) * beside]
        if beside == 2:
            own[0].imshow(_rgb(pictures[index]), interpolation="nearest")
        over(own[-1], pictures[index], values[index], signed=part.signed, most=most)
        if part.kind == "video":
            _mark(own[-1], float(sums[index] / max(sums.max(), 1e-12)))
    _title(axes[0], name)


def over(
    axes: Axes, picture: np.ndarray, values: np.ndarray, *, signed: bool, most: float | None = None
) -> None:
    """Heat over a pale grey picture."""
    grey = _rgb(picture).mean(axis=-1)
    axes.imshow(0.35 + 0.65 * grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.imshow(heat(values, signed=signed, most=most), interpolation="nearest")
    axes.set_axis_off()


def _seen(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [n h w c] and their numbers [n h w]."""
    assert part.shown is not None
    if part.kind == "image" and part.values.ndim == 2:
        return part.shown[None], part.values[None]
    pictures = part.shown
    if part.kind == "volume":
        low, high = pictures.min(), pictures.max()
        pictures = (pictures - low) / max(high - low, 1e-9)
    return pictures, part.values


def _from_least(values: np.ndarray, part: Part) -> np.ndarray:
    """Numbers without signs from the least on, so that what all places share is not drawn."""
    return values if part.signed else values - values.min()


def _mark(axes: Axes, share: float) -> None:
    """A frame's border, the thicker the more it matters."""
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(FOR if share > 0 else MUTED)
        spine.set_linewidth(0.5 + 4 * share)


def _spectrogram(place: SubFigure, part: Part, name: str) -> None:
    """Frames to the right, bands upwards."""
    assert part.shown is not None
    axes = place.subplots(1, 2, squeeze=False)[0]
    low, high = part.shown.min(), part.shown.max()
    grey = (part.shown - low) / max(high - low, 1e-9)
    shape = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
    axes[0].imshow(grey.T, cmap="gray", **shape)
    axes[1].imshow(0.35 + 0.65 * grey.T, cmap="gray", vmin=0, vmax=1, **shape)
    values = _from_least(part.values, part)
    axes[1].imshow(np.swapaxes(heat(values, signed=part.signed), 0, 1), **shape)
    for one in axes:
        _plain(one)
        one.tick_params(labelsize=7)
    axes[0].set_xlabel("frame", fontsize=8)
    _title(axes[0], name)


def _line(place: SubFigure, part: Part, name: str) -> None:
    """Places in a row: a line of what was there, on bands of what matters."""
    axes = place.subplots()
    values = part.values.reshape(-1)
    seen = values if part.shown is None else part.shown.reshape(len(part.shown), -1)[:, 0]
    band = heat(values, signed=part.signed)[None]
    low, high = float(seen.min(initial=0.0)), float(seen.max(initial=1.0))
    extent = (-0.5, len(values) - 0.5, low, high if high > low else low + 1)
    axes.imshow(band, aspect="auto", extent=extent, interpolation="nearest")
    axes.plot(np.linspace(0, len(values) - 1, len(seen)), seen, color=INK, linewidth=0.7)
    _plain(axes)
    axes.tick_params(labelsize=7)
    _title(axes, name)


@dataclasses.dataclass(frozen=True)
class Pair:
    """Where in another modality the words of a text go, the words with the most first."""

    pair: str
    words: Sequence[str]
    maps: Float[np.ndarray, "w ..."]
    other: Part
    height: float = 1.9

    def __call__(self, place: SubFigure) -> None:
        if self.other.shown is None or self.other.kind not in ("image", "video"):
            self._matrix(place)
            return
        shares = self.maps.reshape(len(self.maps), -1)
        order = np.argsort(-shares.max(axis=1), kind="stable")[:_WORDS]
        axes = place.subplots(1, _WORDS, squeeze=False)[0]
        for one in axes:
            one.set_axis_off()
        pictures, _ = _seen(self.other)
        for one, index in zip(axes, sorted(order.tolist()), strict=False):
            values = self.maps[index].reshape(len(pictures), *pictures.shape[1:3])
            best = int(values.reshape(len(values), -1).max(axis=1).argmax())
            over(one, pictures[best], values[best] - values.min(), signed=False)
            one.set_title(_short(self.words[index], 18), fontsize=8)
        place.suptitle(printable(self.pair), fontsize=8, color=MUTED, x=0.01, ha="left")

    def _matrix(self, place: SubFigure) -> None:
        axes = place.subplots()
        values = self.maps.reshape(len(self.maps), -1)
        axes.imshow(values, aspect="auto", cmap="Oranges", interpolation="nearest")
        if len(self.words) <= _MOST_BARS:
            axes.set_yticks(range(len(self.words)), [_short(w, 18) for w in self.words])
        axes.tick_params(labelsize=6)
        _title(axes, self.pair)


def _evenly(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return np.linspace(0, count - 1, most).round().astype(int).tolist()


def _rgb(picture: np.ndarray) -> np.ndarray:
    """Three channels in [0, 1]."""
    values = picture if picture.ndim == 3 else picture[..., None]
    values = values[..., :3] if values.shape[-1] >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    return np.clip(values, 0.0, 1.0)


def _plain(axes: Axes) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)


def _title(axes: Axes, name: str) -> None:
    axes.set_title(_short(name, 60), fontsize=9, color=MUTED, loc="left")


def _short(text: str, most: int) -> str:
    plain = printable(text).replace("\n", " ")
    return plain if len(plain) <= most else plain[: most - 1] + "…"
