"""The pages of what is made of many runs: folds of a cross-validation, trials of a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from mmjax.report import figures
from mmjax.report.html import cell, code, escape, metric_name, table
from mmjax.report.pages import frame

_PANEL_INCHES = (3.6, 2.8)
_MOST_PANELS = 12
_MOST_ROWS = 200


class Trial(NamedTuple):
    """One point of a search."""

    number: int
    state: str
    """"complete", "pruned", "failed", "running" or "waiting"."""
    value: float | None
    params: Mapping[str, Any]
    curve: Mapping[int, float]
    """The metric on validation rows by step."""
    note: str = ""


def _plain(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def folds_page(title: str, summary: Mapping[str, Any], *, rows: int, folder: str) -> str:
    """Mean, spread and the folds' own values of each metric that is no single class's."""
    shown = {name: one for name, one in summary.items() if "/" not in name}
    count = len(next(iter(shown.values()))["values"]) if shown else 0
    head = ["", "Mean", "Spread", *(f"Fold {fold + 1}" for fold in range(count))]
    lines = [
        cell(metric_name(name), kind="th")
        + "".join(
            f'<td class="n">{_plain(x)}</td>' for x in (one["mean"], one["spread"], *one["values"])
        )
        for name, one in shown.items()
    ]
    columns = [cell(one, kind="th", css="n" if i else "") for i, one in enumerate(head)]
    note = (
        "<p>Spread is the sample standard deviation over folds. Their training rows overlap, so it "
        "is not the uncertainty of the mean.</p>"
    )
    listed = table(columns, lines, css="results", caption="Metrics of each fold")
    about = f"{count} folds, {rows:,} rows, each held out once"
    return frame(
        title,
        [("folds", "Folds", listed + note)],
        folder=folder,
        headline=f'<div class="headline"><p class="about">{escape(about)}</p></div>',
    )


def search_page(
    title: str,
    trials: Sequence[Trial],
    *,
    metric: str,
    lower: bool,
    best: int | None,
    importance: Mapping[str, float],
    settings: Mapping[str, Any],
    folder: str,
    estimate: str = "",
) -> str:
    """The page of a search: its best trial, how it went, what mattered, and every trial."""
    known = {one.number: one for one in trials}
    found = None if best is None else known[best]
    value = "-" if found is None else _plain(found.value)
    counts = {s: sum(t.state == s for t in trials) for s in dict.fromkeys(t.state for t in trials)}
    about = ", ".join(f"{count} {state}" for state, count in counts.items())
    name = escape(metric_name(metric).lower())
    headline = (
        f'<div class="headline"><p class="what">best validation {name}</p>'
        f'<p class="number">{value}</p><p class="about">{escape(about)}</p>'
        + (f'<p class="about">{escape(estimate)}</p>' if estimate else "")
        + "</div>"
    )
    done = [one for one in trials if one.state == "complete" and one.value is not None]
    drawn = []
    if done:
        drawn.append(("history of the search", _history(done, metric, lower)))
        drawn.append(("validation curves", _curves(trials, metric, best)))
        drawn += [
            (f"{setting} and {metric}", _slice(setting, done, metric))
            for setting in list(dict.fromkeys(k for one in done for k in one.params))[:_MOST_PANELS]
        ]
    plots = "".join(
        f"<figure>{figures.svg(draw, _PANEL_INCHES, label)}</figure>" for label, draw in drawn
    )
    bars = None
    if importance:
        inches = (6.4, 0.8 + 0.32 * len(importance))
        bars = f"<figure>{figures.svg(_importance(importance), inches, 'importance')}</figure>"
        bars += "<p>Share of the metric's variance that each setting explains (fANOVA-like).</p>"
    lines = [] if found is None else [f"{k} = {v}" for k, v in found.params.items()]
    chosen = code("\n".join(lines)) if lines else None
    return frame(
        title,
        [
            ("best", "Best settings", chosen),
            ("plots", "The search", f'<div class="figures">{plots}</div>' if plots else None),
            ("importance", "What mattered", bars),
            ("trials", "Trials", _table(trials, metric, lower, best)),
            ("settings", "How it was searched", _settings(settings)),
        ],
        folder=folder,
        headline=headline,
    )


def _settings(settings: Mapping[str, Any]) -> str:
    lines = [f"{name}: {value}" for name, value in settings.items()]
    return code("\n".join(lines))


def _table(trials: Sequence[Trial], metric: str, lower: bool, best: int | None) -> str:
    def order(one: Trial) -> tuple[bool, float]:
        nothing = one.value is None or one.state != "complete"
        return nothing, (0.0 if one.value is None else one.value if lower else -one.value)

    ranked = sorted(trials, key=order)[:_MOST_ROWS]
    names = list(dict.fromkeys(key for one in trials for key in one.params))
    head = ["Trial", "State", metric_name(metric), *names, ""]
    columns = [cell(one, kind="th") for one in head]
    rows = []
    for one in ranked:
        css = ' class="n best"' if one.number == best else ' class="n"'
        rows.append(
            cell(str(one.number), kind="th")
            + cell(one.state)
            + f"<td{css}>{_plain(one.value)}</td>"
            + "".join(f"<td>{escape(_plain(one.params.get(name)))}</td>" for name in names)
            + f"<td><small>{escape(one.note[:120])}</small></td>"
        )
    return table(columns, rows, css="results", caption="Trials, the best first")


def _history(done: Sequence[Trial], metric: str, lower: bool) -> figures.Draw:
    ordered = sorted(done, key=lambda one: one.number)
    values = np.array([one.value for one in ordered], np.float64)
    best = (np.minimum if lower else np.maximum).accumulate(values)

    def draw(axes: Axes, colours: figures.Colours) -> None:
        numbers = [one.number for one in ordered]
        axes.scatter(numbers, values, s=16, color=colours.series[0], alpha=0.6, linewidths=0)
        axes.step(numbers, best, where="post", color=colours.series[1], linewidth=1.7)
        axes.set(xlabel="trial", ylabel=metric_name(metric))

    return draw


def _curves(trials: Sequence[Trial], metric: str, best: int | None) -> figures.Draw:
    def draw(axes: Axes, colours: figures.Colours) -> None:
        for one in trials:
            if not one.curve or one.number == best:
                continue
            colour = colours.muted if one.state == "pruned" else colours.series[0]
            axes.plot(list(one.curve), list(one.curve.values()), color=colour, lw=0.8, alpha=0.5)
        for one in trials:
            if one.number == best and one.curve:
                axes.plot(list(one.curve), list(one.curve.values()), color=colours.series[1], lw=2)
        axes.set(xlabel="step (grey: pruned)", ylabel=metric_name(metric))

    return draw


def _slice(name: str, done: Sequence[Trial], metric: str) -> figures.Draw:
    pairs = [(one.params[name], one.value or 0.0) for one in done if name in one.params]
    numeric = all(isinstance(x, int | float) and not isinstance(x, bool) for x, _ in pairs)

    def draw(axes: Axes, colours: figures.Colours) -> None:
        values = [y for _, y in pairs]
        if numeric:
            at = [float(x) for x, _ in pairs]
            if min(at) > 0 and max(at) >= 20 * min(at):
                axes.set_xscale("log")
        else:
            kinds = sorted({str(x) for x, _ in pairs})
            at = [float(kinds.index(str(x))) for x, _ in pairs]
            figures.name_ticks(axes, "x", range(len(kinds)), kinds)
        axes.scatter(at, values, s=18, color=colours.series[0], alpha=0.6, linewidths=0)
        axes.set(xlabel=name.rpartition(".")[2], ylabel=metric_name(metric))
        axes.set_title(name, loc="left", fontsize=9, color=colours.ink)

    return draw


def _importance(importance: Mapping[str, float]) -> figures.Draw:
    ordered = sorted(importance.items(), key=lambda one: one[1])

    def draw(axes: Axes, colours: figures.Colours) -> None:
        axes.barh(range(len(ordered)), [share for _, share in ordered], color=colours.series[0])
        figures.name_ticks(axes, "y", range(len(ordered)), [name for name, _ in ordered])
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, 1), xlabel="share of the variance")

    return draw
