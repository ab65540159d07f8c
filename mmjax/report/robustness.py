"""Scores over severities as curves: a panel a modality, a line a way of making it worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mmjax.report import figures
from mmjax.report.html import cell, escape, metric_name, table

_PANEL_INCHES = (3.6, 3.0)

Curves = Mapping[str, Sequence[float | None]]
"""The scores at each severity, by `<modality>/<way>`, or by a name without a slash for all."""


def draw(levels: Sequence[float], metric: str, curves: Curves) -> bytes:
    """A PNG of one metric: a panel a modality, all with one scale."""
    return figures.png([drawn for _, drawn in _panels(levels, metric, curves)], _PANEL_INCHES)


def section(found: Mapping[str, Any]) -> str:
    """What `robustness.json` holds, for a page: the curves of each metric, and a table."""
    parts = [
        f"<p>Of {found['rows']:,} rows ({escape(found['split'])}), as their inputs are made worse: "
        "from 0, as they are, to 1, where what is taken away is gone. Relative robustness is the "
        "share of the score at 0 that stays on average.</p>"
    ]
    curves: Mapping[str, Any] = found["curves"]
    metrics = list(next(iter(curves.values()), {}))
    for metric in metrics:
        scores = {name: one[metric]["scores"] for name, one in curves.items()}
        drawn = "".join(
            f"<figure>{figures.svg(draw, _PANEL_INCHES, f'{metric}, {title} made worse')}</figure>"
            for title, draw in _panels(found["levels"], metric, scores)
        )
        parts.append(f'<div class="figures">{drawn}</div>')
    effective = bool(found.get("reference"))
    columns = ["Made worse", "Metric", *(f"{level:g}" for level in found["levels"]), "Relative"]
    rows = [
        cell(name, kind="th")
        + "".join(
            cell(value)
            for value in (
                metric_name(metric),
                *of[metric]["scores"],
                of[metric]["relative_robustness"],
                *([of[metric].get("effective_robustness")] if effective else []),
            )
        )
        for name, of in curves.items()
        for metric in metrics
    ]
    columns += ["Effective"] if effective else []
    head = [cell(one, kind="th", css="n" if i > 1 else "") for i, one in enumerate(columns)]
    parts.append(table(head, rows, caption="Scores by severity"))
    return "".join(parts)


def _panels(levels: Sequence[float], metric: str, curves: Curves) -> list[tuple[str, figures.Draw]]:
    """The name and the drawing of each panel."""
    groups: dict[str, dict[str, Sequence[float | None]]] = {}
    for name, scores in curves.items():
        modality, _, way = name.partition("/")
        groups.setdefault(modality, {})[way or "together"] = scores
    every = [one for scores in curves.values() for one in scores if one is not None]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.05
    limits = (low - margin, high + margin)
    return [
        (modality, _panel(modality, metric_name(metric), levels, ways, limits))
        for modality, ways in groups.items()
    ]


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
