"""Rows as dots in a plane, near each other where the model finds them alike; one a row, or one a
row and modality.

A dot shows its picture and text when it is pointed at or reached by the keyboard; no script runs.
All dots are one stop of the tab key, and the arrow keys go from left to right.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float
from mmjax.report.html import escape
from mmjax.report.pictures import thumbnail_uri
from mmjax.report.searches import Seen

COLOURS = 10
"""So many values have a colour of their own; the rarer ones share a grey."""
_OTHERS = "others"


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """Dots at `points` [n 2], coloured by each of `colours`: `{"label": [n names]}`."""

    title: str
    points: Float[np.ndarray, "n 2"]
    dots: Sequence[Seen]
    colours: Mapping[str, Sequence[str]]
    about: str = ""

    def __post_init__(self) -> None:
        counts = {len(self.points), len(self.dots), *map(len, self.colours.values())}
        if len(counts) != 1 or np.ndim(self.points) != 2 or not self.colours:
            raise DataError(
                550,
                f"a map of {len(self.points)} points and {len(self.dots)} dots",
                fix="expected as many points [n 2] as dots, and as names of each colouring",
            )


def section(maps: Sequence[EmbeddingMap]) -> str:
    """Every map, by each of its colourings."""
    return "".join(_map(one, number) for number, one in enumerate(maps))


def _map(one: EmbeddingMap, number: int) -> str:
    if not len(one.points):
        return ""
    low, high = one.points.min(axis=0), one.points.max(axis=0)
    places = 3 + 94 * (one.points - low) / np.maximum(high - low, 1e-12)
    uris = [None if dot.image is None else thumbnail_uri(dot.image) for dot in one.dots]
    about = f"<p>{escape(one.about)}</p>" if one.about else ""
    parts = [f"<h3>{escape(one.title)}</h3>{about}"]
    keys = list(one.colours)
    named = f"map-{number}"
    choices = ""
    if len(keys) > 1:
        # The first of these is a sibling of the plane, whose style depends on which is checked.
        for place, key in enumerate(keys):
            checked = " checked" if place == 0 else ""
            identifier = f"{named}-{place}"
            choices += (
                f'<input type="radio" name="{named}" id="{identifier}" class="by-{place}"{checked}>'
                f'<label for="{identifier}">by {escape(key)}</label>'
            )
    ranks = {key: _ranks(values) for key, values in one.colours.items()}
    dots = "".join(
        _dot(
            one.dots[i],
            places[i],
            uris[i],
            {key: one.colours[key][i] for key in keys},
            [ranks[key][one.colours[key][i]] for key in keys],
            group=f"{named}-dots",
        )
        for i in np.argsort(places[:, 0], kind="stable")
    )
    legends = "".join(
        f'<ul class="legend of-{place}" aria-label="colours by {escape(key)}">{_legend(ranks[key])}'
        "</ul>"
        for place, key in enumerate(keys)
    )
    role = f'role="radiogroup" aria-label="{escape(one.title)}, {len(one.dots)} rows"'
    parts.append(
        f'<div class="map">{choices}<div class="plane" {role}>{dots}</div>'
        f'<p class="hint">The arrow keys go from dot to dot.</p>{legends}</div>'
    )
    return "".join(parts)


def _ranks(values: Sequence[str]) -> dict[str, int]:
    """The number of each value's colour, the commonest first; `COLOURS` for all the others."""
    common = [name for name, _ in Counter(values).most_common()]
    kept = common if len(common) <= COLOURS else common[: COLOURS - 1]
    return {name: kept.index(name) if name in kept else COLOURS for name in common}


def _legend(ranks: Mapping[str, int]) -> str:
    shown = {name: rank for name, rank in ranks.items() if rank < COLOURS}
    if len(shown) < len(ranks):
        shown[f"{len(ranks) - len(shown)} {_OTHERS}"] = COLOURS
    return "".join(
        f'<li><i class="c{rank}"></i>{escape(name)}</li>' for name, rank in shown.items()
    )


def _dot(
    dot: Seen,
    place: np.ndarray,
    uri: str | None,
    names: Mapping[str, str],
    ranks: Sequence[int],
    *,
    group: str,
) -> str:
    said = ", ".join(f"{key} {name}" for key, name in names.items())
    text = dot.text if len(dot.text) <= 80 else dot.text[:79] + "…"
    label = escape(f"row {dot.row}: {text}; {said}" if text else f"row {dot.row}; {said}")
    image = f'<img src="{uri}" alt="">' if uri else ""
    side = "left" if place[0] > 60 else "right"
    height = "up" if place[1] < 40 else "down"
    css = " ".join(f"k{i}c{rank}" for i, rank in enumerate(ranks))
    words = f"<b>{escape(text)}</b>" if text else ""
    return (
        f'<label class="dot-at {side} {height} {css}" '
        f'style="left:{place[0]:.2f}%;bottom:{place[1]:.2f}%">'
        f'<input type="radio" class="unseen" name="{group}" aria-label="{label}">'
        f'<span class="tip" aria-hidden="true">{image}{words}'
        f"<small>row {dot.row}, {escape(said)}</small></span></label>"
    )
