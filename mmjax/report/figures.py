"""The plots, drawn once for PNG files and once for the page, where they take its colours."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmjax.core.typing import Float
from mmjax.report.curves import Panel, smooth
from mmjax.report.html import escape
from mmjax.writers.console import printable


@dataclasses.dataclass(frozen=True)
class Colours:
    """What the plots are drawn in."""

    ink: str
    muted: str
    line: str
    series: tuple[str, ...]


PAPER = Colours("#1b1f24", "#5d646d", "#dfe2e6", ("#2456c8", "#c2570c", "#0f7b5f", "#8a3fb0"))

# Colours that nobody draws in; the page's own variables replace them in the SVG.
_PAGE = Colours("#010a01", "#010a02", "#010a03", ("#010a10", "#010a11", "#010a12", "#010a13"))
_VARIABLES = {
    _PAGE.ink: "var(--ink)",
    _PAGE.muted: "var(--muted)",
    _PAGE.line: "var(--line)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(_PAGE.series)},
}

Draw = Callable[[Axes, Colours], None]


_ACROSS = 4
_MOST_DOTS = 2000


def png(draws: Sequence[Draw], size: tuple[float, float]) -> bytes:
    """The plots in rows of four, each `size` inches."""
    across, down = min(len(draws), _ACROSS), -(-len(draws) // _ACROSS)
    figure = Figure((size[0] * across, size[1] * down), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return _save(figure, draws, PAPER, "png", dpi=150)


def svg(draw: Draw, size: tuple[float, float], label: str) -> str:
    """The plot as an inline `<svg>` that scales with its container and follows its theme.

    `label` says in plain words what it shows, to those who do not see it.
    """
    figure = Figure(size, layout="constrained")
    figure.patch.set_alpha(0)
    FigureCanvasSVG(figure)
    text = _save(figure, [draw], _PAGE, "svg", metadata={"Date": None}).decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]  # several of these stand in one page
    text = re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>{mark}-", text)
    found = re.match(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', text)
    assert found is not None, text[:200]
    head = f'<svg viewBox="{found[1]}" role="img" aria-label="{escape(label)}">'
    text = head + text[found.end() :]
    text = re.sub(r"font: (\d+ )?([0-9.]+)px [^;\"]*", r"font-size: \2px", text)
    for drawn, variable in _VARIABLES.items():
        text = text.replace(drawn, variable)
    return text


def _save(figure: Figure, draws: Sequence[Draw], colours: Colours, kind: str, **options) -> bytes:
    across, down = min(len(draws), _ACROSS), -(-len(draws) // _ACROSS)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "mmjax",
        "font.family": "sans-serif",
        "text.parse_math": False,  # a label may hold dollar signs
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A label in a script that the bundled font lacks is drawn as boxes in the PNG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for one, draw in zip(axes, draws, strict=False):
            _style(one, colours)
            draw(one, colours)
        for one in axes[len(draws) :]:
            one.set_axis_off()
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, transparent=kind == "svg", **options)
    return stream.getvalue()


def _style(axes: Axes, colours: Colours) -> None:
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(colours.line)
    axes.tick_params(colors=colours.muted, labelsize=9.5, length=0)
    axes.xaxis.label.set_color(colours.muted)
    axes.yaxis.label.set_color(colours.muted)
    axes.xaxis.label.set_fontsize(9.5)
    axes.yaxis.label.set_fontsize(9.5)
    axes.grid(color=colours.line, linewidth=0.7)
    axes.set_axisbelow(True)


def name_ticks(axes: Axes, axis: str, positions: Sequence[float], names: Sequence[str]) -> None:
    """Tick labels that are data: printable and cut short."""
    short = [n if len(n) <= 24 else n[:23] + "…" for n in (printable(name) for name in names)]
    if axis == "x":
        axes.set_xticks(positions, short, rotation=90)
    else:
        axes.set_yticks(positions, short)


def curves(panel: Panel, best_step: int | None = None) -> Draw:
    """The series of one panel over steps; long noisy ones faint under their running mean."""

    def draw(axes: Axes, colours: Colours) -> None:
        axes.set_title(panel.title, loc="left", fontsize=10.5, color=colours.ink, weight="bold")
        for colour, (name, (steps, values)) in zip(
            colours.series, panel.series.items(), strict=False
        ):
            mean = smooth(values) if panel.noisy else None
            marker = "o" if len(steps) == 1 else None
            if mean is not None:
                axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.25)
            shown = values if mean is None else mean
            (line,) = axes.plot(steps, shown, color=colour, linewidth=1.7, marker=marker)
            line.set_label(printable(name))
        if best_step is not None:
            axes.axvline(best_step, color=colours.muted, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len(panel.series) > 1 or panel.noisy:
            axes.legend(frameon=False, fontsize=9, labelcolor=colours.ink)

    return draw


def reliability(calibration: Float[np.ndarray, "3 bins"]) -> Draw:
    """Accuracy against mean confidence, one dot a bin, its area the rows in it."""
    weight, confidence, correct = np.asarray(calibration, np.float64)
    filled = weight > 0
    sure, right = confidence[filled] / weight[filled], correct[filled] / weight[filled]
    area = 12 + 260 * weight[filled] / weight.sum()

    def draw(axes: Axes, colours: Colours) -> None:
        axes.plot([0, 1], [0, 1], color=colours.muted, linewidth=1, linestyle=(0, (3, 3)))
        axes.plot(sure, right, color=colours.series[0], linewidth=1.2, alpha=0.5)
        axes.scatter(sure, right, s=area, color=colours.series[0], alpha=0.85, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
        axes.set_aspect("equal")

    return draw


def confusion(counts: np.ndarray, names: Sequence[str]) -> Draw:
    """A heat map shaded by the share of the row, with counts where there is room for them."""
    support = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)

    def draw(axes: Axes, colours: Colours) -> None:
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        axes.set(xlabel="predicted", ylabel="true")
        if len(names) <= 60:
            name_ticks(axes, "x", range(len(names)), names)
            name_ticks(axes, "y", range(len(names)), names)
        if len(names) <= 25:
            for i, j in zip(*np.nonzero(counts), strict=True):
                colour = "white" if share[i, j] > 0.55 else colours.ink
                axes.text(j, i, f"{counts[i, j]:g}", ha="center", va="center", color=colour, size=8)

    return draw


def class_scores(names: Sequence[str], scores: Sequence[float]) -> Draw:
    """One bar a class, the best on top."""
    order = np.argsort(scores)[-60:]

    def draw(axes: Axes, colours: Colours) -> None:
        axes.barh(range(len(order)), np.asarray(scores)[order], color=colours.series[0])
        name_ticks(axes, "y", range(len(order)), [names[i] for i in order])
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, 1), xlabel="F1")

    return draw


def scatter(name: str, truth: np.ndarray, found: np.ndarray) -> Draw:
    """Predicted against true numbers; of very many rows some, evenly spaced."""
    step = max(1, len(truth) // _MOST_DOTS)
    truth, found = truth[::step], found[::step]
    low, high = min(truth.min(), found.min()), max(truth.max(), found.max())
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)

    def draw(axes: Axes, colours: Colours) -> None:
        axes.plot(limits, limits, color=colours.muted, linewidth=1, linestyle=(0, (3, 3)))
        alpha = 0.75 if len(truth) < 200 else 0.35
        axes.scatter(truth, found, s=12, color=colours.series[0], alpha=alpha, linewidths=0)
        axes.set(xlim=limits, ylim=limits, xlabel=f"true {printable(name)}", ylabel="predicted")
        axes.set_aspect("equal")

    return draw
