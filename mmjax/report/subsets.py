"""What each modality adds: the score of every subset, and Shapley values as a waterfall."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from mmjax.report import figures
from mmjax.report.html import cell, escape, metric_name, table

_INCHES = (4.2, 3.2)

Found = Mapping[str, Any]
"""What `modalities.json` holds."""
Numbers = Mapping[str, Mapping[str, float | None]]
"""By modality: its score `alone`, what is `lost` without it, and its `shapley` value."""


def draw(found: Found, metric: str) -> bytes:
    """A PNG: the subsets' scores as bars, and what each modality adds from none to all of them."""
    return figures.png([one for _, one in _plots(found, metric)], _INCHES)


def section(found: Found) -> str:
    """Plots and tables of each metric, as markup."""
    parts = [
        f"<p>{found['rows']:,} {escape(found['split'])} rows. What is not in a subset is absent in "
        "every row. A Shapley value is a modality's mean gain over all orders in which modalities "
        "may come; they add up to the score of all minus that of none.</p>"
    ]
    for metric, numbers in found["modality"].items():
        drawn = "".join(
            f"<figure>{figures.svg(plot, _INCHES, label)}</figure>"
            for label, plot in _plots(found, metric)
        )
        parts.append(f"<h3>{escape(metric_name(metric))}</h3>")
        parts.append(f'<div class="figures">{drawn}</div>{_modalities(metric, numbers)}')
    parts.append(f"<h3>Subsets</h3>{_subsets(found)}")
    return "".join(parts)


def called(subset: Sequence[str]) -> str:
    """A subset's name."""
    return " + ".join(subset) or "none"


def _scores(found: Found, metric: str) -> dict[str, float]:
    return {called(one["modalities"]): _number(one["metrics"][metric]) for one in found["subsets"]}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _plots(found: Found, metric: str) -> list[tuple[str, figures.Draw]]:
    scores, numbers = _scores(found, metric), found["modality"][metric]
    added = {name: _number(one["shapley"]) for name, one in numbers.items()}
    return [
        (f"{metric} of each subset", _bars(metric, scores)),
        (f"what each modality adds to {metric}", _waterfall(metric, scores["none"], added)),
    ]


def _modalities(metric: str, numbers: Numbers) -> str:
    head = ("Modality", "Alone", "Lost without it", "Shapley value")
    rows = [
        cell(name, kind="th")
        + f'<td class="n">{_plain(one["alone"])}</td>'
        + "".join(f'<td class="n">{_signed(one[key])}</td>' for key in ("lost", "shapley"))
        for name, one in numbers.items()
    ]
    columns = [cell(one, kind="th", css="n" if i else "") for i, one in enumerate(head)]
    return table(columns, rows, css="results", caption=f"What each modality adds to {metric}")


def _subsets(found: Found) -> str:
    metrics = list(found["modality"])
    columns = [cell("Modalities", kind="th")]
    columns += [cell(metric_name(one), kind="th", css="n") for one in metrics]
    rows = [
        cell(called(one["modalities"]), kind="th")
        + "".join(f'<td class="n">{_plain(one["metrics"][metric])}</td>' for metric in metrics)
        for one in found["subsets"]
    ]
    return table(columns, rows, css="results", caption="Metrics of every subset")


def _bars(metric: str, scores: Mapping[str, float]) -> figures.Draw:
    def drawn(axes: Axes, colours: figures.Colours) -> None:
        values = [0.0 if math.isnan(one) else one for one in scores.values()]
        axes.barh(range(len(values)), values, color=colours.series[0])
        figures.name_ticks(axes, "y", range(len(values)), list(scores))
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=metric_name(metric))

    return drawn


def _waterfall(metric: str, none: float, added: Mapping[str, float]) -> figures.Draw:
    def drawn(axes: Axes, colours: figures.Colours) -> None:
        at, start = 0, none
        axes.barh(at, start, color=colours.muted)
        for gain in added.values():
            at += 1
            axes.barh(at, gain, left=start, color=colours.series[2 if gain >= 0 else 1])
            start += gain
        axes.barh(at + 1, start, color=colours.series[0])
        figures.name_ticks(axes, "y", range(len(added) + 2), ["none", *added, "all"])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=f"{metric_name(metric)}, Shapley values")

    return drawn


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"
