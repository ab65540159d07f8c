"""The picture of an explanation: the inputs, and on them what matters."""

from __future__ import annotations

import functools
import io
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure

from mmjax.explain import panels
from mmjax.explain.explanation import Explanation
from mmjax.writers.console import printable

_WIDE = 8.0
"""Inches."""

Draw = Callable[[SubFigure], None]


def png(explanation: Explanation, *, dpi: int = 100) -> bytes:
    """The picture as PNG: a strip a modality, one of the modalities' numbers, one a pair."""
    strips = _strips(explanation)
    heights = [height for height, _ in strips]
    settings: dict[Any, Any] = {
        "font.family": "sans-serif",
        "text.parse_math": False,
        "font.size": 9,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        title = textwrap.shorten(printable(_title(explanation)), 110, placeholder=" ...")
        figure = Figure((_WIDE, sum(heights) + 0.4), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
        if strips:
            found = figure.subfigures(len(strips), 1, height_ratios=heights, squeeze=False)
            for place, (_, draw) in zip(found[:, 0], strips, strict=True):
                draw(place)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def _title(explanation: Explanation) -> str:
    return f"{explanation.method}: {explanation.explained} = {explanation.score:.3g}"


def _strips(explanation: Explanation) -> list[tuple[float, Draw]]:
    """Each strip's height in inches, and what draws it."""
    found: list[tuple[float, Draw]] = []
    if len(explanation.modalities) > 1:
        numbers = dict(explanation.modalities)
        height = 0.5 + 0.25 * len(numbers)
        found.append((height, functools.partial(panels.bars, numbers=numbers, name="modalities")))
    for name, part in explanation.parts.items():
        height = panels.height(part)
        found.append((height, functools.partial(panels.draw, part=part, name=name)))
    for pair, maps in explanation.pairs.items():
        asking, _, asked = pair.partition("<-")
        words, other = explanation.parts.get(asking), explanation.parts.get(asked)
        if words is None or other is None or not words.names:
            continue
        draw = panels.Pair(pair, words.names, maps, other)
        found.append((draw.height, draw))
    return found
