"""Precision against recall, a curve a label."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from mmjax.report import figures
from mmjax.report.html import cell, table
from mmjax.writers.console import printable

_INCHES = (4.2, 3.6)

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Recall and precision, both [n], recall ascending, by label."""


def area(recall: np.ndarray, precision: np.ndarray) -> float:
    """Average precision: the sum of precisions, each weighted by the recall that it adds."""
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def section(curves: Curves) -> str:
    """The plot of the first four, and the area under each."""
    drawn = figures.svg(plot(curves), _INCHES, "Precision against recall")
    columns = [cell("Label", kind="th"), cell("Average precision", kind="th", css="n")]
    rows = [
        cell(name, kind="th") + cell(area(*values)) for name, values in list(curves.items())[:40]
    ]
    listed = table(columns, rows, css="pairs", caption="Average precision of each label")
    return f'<div class="beside"><figure>{drawn}</figure><div>{listed}</div></div>'


def plot(curves: Curves) -> figures.Draw:
    """The curves of the labels that come first."""

    def draw(axes: Axes, colours: figures.Colours) -> None:
        for colour, (name, (recall, precision)) in zip(
            colours.series, curves.items(), strict=False
        ):
            (line,) = axes.step(recall, precision, where="pre", color=colour, linewidth=1.5)
            line.set_label(printable(name))
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.legend(frameon=False, fontsize=9, labelcolor=colours.ink, loc="lower left")

    return draw
