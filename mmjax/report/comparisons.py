"""The page that sets runs against each other: differences with their intervals, and tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from mmjax.report import figures
from mmjax.report.html import cell, escape, metric_name, table
from mmjax.report.pages import frame

_MOST = 24


class Row(NamedTuple):
    """A metric of one run beside that of the first."""

    metric: str
    run: str
    first: float
    value: float
    difference: tuple[float, float, float]
    """The run's minus the first's, and its interval."""
    p: float
    p_adjusted: float


def comparison_page(
    runs: Sequence[str],
    rows: Sequence[Row],
    *,
    about: str,
    level: float,
    tests: Mapping[str, tuple[int, int, float]],
) -> str:
    """The page as text; `tests` are, by run, the rows that the first and that the run alone got
    right, and McNemar's p.
    """
    drawn = figures.svg(_intervals(rows), (6.4, 1.0 + 0.3 * min(len(rows), _MOST)), "differences")
    return frame(
        " against ".join((", ".join(runs[1:]), runs[0])),
        [
            ("differences", "Differences", differences(runs, rows, level=level)),
            ("plot", "Intervals", f"<figure>{drawn}</figure>"),
            ("mcnemar", "Right and wrong", _mcnemar(runs[0], tests) if tests else None),
        ],
        headline=f'<div class="headline"><p class="about">{escape(about)}</p></div>',
    )


def section(
    runs: Sequence[str],
    rows: Sequence[Row],
    *,
    level: float,
    tests: Mapping[str, tuple[int, int, float]],
) -> str:
    """The same as markup for a page that tells of more."""
    tested = f"<h3>Right and wrong</h3>{_mcnemar(runs[0], tests)}" if tests else ""
    return differences(runs, rows, level=level) + tested


def differences(runs: Sequence[str], rows: Sequence[Row], *, level: float) -> str:
    """The table of differences from the first run."""
    several = len(runs) > 2
    share = f"{100 * level:g} %"
    columns = ["Metric", "Run", runs[0], "Value", "Difference", f"{share} interval", "p"]
    columns += ["p, Holm"] if several else []
    lines = []
    for one in rows:
        value, low, high = one.difference
        css = "n best" if low > 0 or high < 0 else "n"
        lines.append(
            cell(metric_name(one.metric), kind="th")
            + cell(one.run)
            + "".join(f'<td class="n">{_plain(x)}</td>' for x in (one.first, one.value))
            + f'<td class="{css}">{_signed(value)}</td>'
            + f'<td class="n">{_signed(low)} to {_signed(high)}</td>'
            + "".join(f'<td class="n">{_p(x)}</td>' for x in (one.p, one.p_adjusted)[: 1 + several])
        )
    head = [cell(one, kind="th", css="n" if i > 1 else "") for i, one in enumerate(columns)]
    note = (
        f"<p>Bold: the {share} interval of the difference does not hold 0. Of losses and errors "
        "lower is better. Intervals are of the test rows alone; another training seed may give "
        "another difference.</p>"
    )
    return table(head, lines, css="results", caption="Differences from the first run") + note


def _mcnemar(first: str, tests: Mapping[str, tuple[int, int, float]]) -> str:
    head = ("Run", f"Only {first} right", "Only the run right", "McNemar's p")
    columns = [cell(one, kind="th", css="n" if i else "") for i, one in enumerate(head)]
    rows = [
        cell(name, kind="th") + cell(a) + cell(b) + f'<td class="n">{_p(p)}</td>'
        for name, (a, b, p) in tests.items()
    ]
    return table(columns, rows, css="results", caption="Rows that one run alone got right")


def _intervals(rows: Sequence[Row]) -> figures.Draw:
    shown = [row for row in rows if math.isfinite(row.difference[1])][:_MOST]

    def draw(axes: Axes, colours: figures.Colours) -> None:
        runs = list(dict.fromkeys(row.run for row in shown))
        for at, row in enumerate(shown):
            value, low, high = row.difference
            colour = colours.series[runs.index(row.run) % len(colours.series)]
            axes.plot([low, high], [at, at], color=colour, linewidth=2, alpha=0.5)
            axes.plot([value], [at], color=colour, marker="o", markersize=5)
        axes.axvline(0, color=colours.muted, linewidth=1, linestyle=(0, (3, 3)))
        several = len(runs) > 1
        named = [metric_name(r.metric) + (f", {r.run}" if several else "") for r in shown]
        figures.name_ticks(axes, "y", range(len(shown)), named)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlabel="difference")

    return draw


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}" if value >= 1e-4 else "&lt; 0.0001"
