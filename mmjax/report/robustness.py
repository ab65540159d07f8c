"""Scores over severities as curves: a panel a modality, a line a way of making it worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from mmjax.report import figures
from mmjax.report.html import metric_name

_PANEL_INCHES = (3.6, 3.0)

Curves = Mapping[str, Sequence[float | None]]
"""The scores at each severity, by `<modality>/<way>`, or by a name without a slash for all."""


def draw(levels: Sequence[float], metric: str, curves: Curves) -> bytes:
    """A PNG of one metric: a panel a modality, all with one scale."""
    groups: dict[str, dict[str, Sequence[float | None]]] = {}
    for name, scores in curves.items():
        modality, _, way = name.partition("/")
        groups.setdefault(modality, {})[way or "together"] = scores
    every = [one for scores in curves.values() for one in scores if one is not None]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    limits = (low - margin, high + margin)
    panels = [
        _panel(modality, metric_name(metric), levels, ways, limits)
        for modality, ways in groups.items()
    ]
    return figures.png(panels, _PANEL_INCHES)


def _panel(
    title: str,
    metric: str,
    levels: Sequence[float],
    ways: Mapping[str, Sequence[float | None]],
    limits: tuple[float, float],
) -> figures.Draw:
    def drawn(axes: Axes, colours: figures.Colours) -> None:
        axes.set_title(title, loc="left", fontsize=10.5, color=colours.ink, weight="bold")
        for i, (way, scores) in enumerate(ways.items()):
            colour = colours.series[i % len(colours.series)]
            values = np.array([np.nan if one is None else one for one in scores])
            axes.plot(levels, values, color=colour, linewidth=1.7, marker="o", markersize=3.5)
            axes.lines[-1].set_label(way.replace("_", " "))
        axes.set(xlabel="severity", ylabel=metric, ylim=limits)
        axes.legend(frameon=False, fontsize=9, labelcolor=colours.ink)

    return drawn
