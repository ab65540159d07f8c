"""How far predicted numbers are from the true ones."""

from __future__ import annotations

import numpy as np

from mmjax.report import figures
from mmjax.report.contents import ReportContents
from mmjax.report.html import cell, metric_name, table

PANEL_INCHES = (3.8, 3.6)
MOST_PANELS = 8
_COLUMNS = ("mae", "rmse", "r2", "pearson", "spearman", "pinball", "coverage", "interval")


def predicted(contents: ReportContents) -> str:
    """A table of the metrics of each target, and predicted against true."""
    several = len(contents.numbers) > 1
    columns = [name for name in _COLUMNS if name in contents.metrics]
    head = [
        cell("Target", kind="th"),
        cell("Rows", kind="th", css="n"),
        cell("Mean", kind="th", css="n"),
        cell("Deviation", kind="th", css="n"),
        *(cell(metric_name(name), kind="th", css="n") for name in columns),
    ]
    rows = []
    for name, (truth, _) in contents.numbers.items():
        values = [contents.metrics.get(f"{c}/{name}" if several else c) for c in columns]
        mean, deviation = (
            (float(np.mean(truth)), float(np.std(truth))) if len(truth) else (np.nan, np.nan)
        )
        rows.append(
            cell(name, kind="th")
            + cell(len(truth))
            + cell(mean)
            + cell(deviation)
            + "".join(cell(float("nan") if value is None else value) for value in values)
        )
    drawn = "".join(
        f"<figure>{figures.svg(draw, PANEL_INCHES, f'Predicted against true {name}')}</figure>"
        for name, draw in _named(contents).items()
    )
    listed = table(head, rows, css="results", caption="Errors of each target")
    left_out = len(contents.numbers) - MOST_PANELS
    note = f"<p>{left_out} more targets are in the table alone.</p>" if left_out > 0 else ""
    return (
        f'{listed}<div class="figures">{drawn}</div>{note}'
        "<p>One dot a row; on the dashed line, what was predicted is what was true.</p>"
    )


def panels(contents: ReportContents) -> list[figures.Draw]:
    """A plot for each of the first targets that has rows."""
    return list(_named(contents).values())


def _named(contents: ReportContents) -> dict[str, figures.Draw]:
    shown = [(name, *pair) for name, pair in contents.numbers.items() if len(pair[0])]
    return {one[0]: figures.scatter(*one) for one in shown[:MOST_PANELS]}
