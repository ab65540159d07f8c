"""How good it is: the headline, and the models side by side."""

from __future__ import annotations

import math

from mmjax.report.contents import ReportContents
from mmjax.report.html import LOWER_IS_BETTER, cell, escape, metric_name, table

_TILES = (
    *("accuracy", "macro_f1", "balanced_accuracy", "top5_accuracy", "auroc", "ap", "mcc"),
    *("micro_f1", "macro_auroc", "lrap", "subset_accuracy", "hamming_loss"),
    *("within_one", "mae", "macro_mae", "quadratic_kappa"),
    *("rmse", "r2", "pearson", "spearman", "pinball", "coverage", "interval"),
    *("log_loss", "ece"),
    *("ap50", "ap75", "ar@100", "matched_iou", "matched_accuracy"),
    *("recall@1", "recall@5", "recall@10", "median_rank", "map"),
)


def _format(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def headline(contents: ReportContents) -> str:
    """The number that matters, how sure it is, and what doing nothing would give."""
    value = contents.metrics.get(contents.headline)
    interval = contents.intervals.get(contents.subject)
    spread = contents.spread.get(contents.subject, {}).get(contents.headline)
    about = []
    if spread is not None and not math.isnan(spread):
        about.append(f"± {spread:.3f} over seeds")
    if interval is not None:
        about.append(f"95 % interval {_format(interval[0])} to {_format(interval[1])}")
    if contents.rows is not None:
        about.append(f"{contents.rows:,} rows")
    if contents.majority is not None:
        about.append(f"{contents.baseline_name} {_format(contents.majority)}")
    subject = f" of {escape(contents.subject)}" if len(contents.results) > 1 else ""
    return (
        '<div class="headline">'
        f'<p class="what">{escape(contents.split)} '
        f"{escape(metric_name(contents.headline).lower())}{subject}</p>"
        f'<p class="number">{_format(value)}</p>'
        f'<p class="about">{" · ".join(about)}</p>{_strip(contents)}{_tiles(contents)}</div>'
    )


def _strip(contents: ReportContents) -> str:
    """One line a model: its value as a dot, its interval as a whisker, the baseline dashed."""
    found = {n: values.get(contents.headline, math.nan) for n, values in contents.results.items()}
    points = {name: value for name, value in found.items() if 0 <= value <= 1}
    if not points or contents.headline in LOWER_IS_BETTER:
        return ""
    base = ""
    if contents.majority is not None:
        base = f'<i class="base" style="left:{100 * contents.majority:.2f}%"></i>'
    rows = []
    for name, value in points.items():
        low, high = contents.intervals.get(name, (value, value))
        whisker = (
            f'<i class="whisker" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
        )
        subject = " subject" if name == contents.subject else ""
        rows.append(
            f'<div class="strip{subject}"><span>{escape(name)}</span>'
            f'<div class="track">{base}{whisker}<i class="dot" style="left:{100 * value:.2f}%">'
            f"</i></div><b>{_format(value)}</b></div>"
        )
    key = f'<span class="key"><i></i> {escape(contents.baseline_name)}</span>' if base else ""
    scale = f'<div class="scale"><span>0</span>{key}<span>1</span></div>'
    return f'<div class="strips">{"".join(rows)}{scale}</div>'


def _tiles(contents: ReportContents) -> str:
    shown = [n for n in _TILES if n in contents.metrics and n != contents.headline]
    tiles = "".join(
        f"<div><dt>{escape(metric_name(name))}</dt><dd>{_format(contents.metrics[name])}</dd></div>"
        for name in shown
    )
    return f'<dl class="tiles">{tiles}</dl>' if tiles else ""


def comparison(contents: ReportContents) -> str:
    """The metrics in rows, the models in columns, the best of each row marked."""
    names = dict.fromkeys(n for values in contents.results.values() for n in values if "/" not in n)
    columns = [
        cell("", kind="th"),
        *(cell(model, kind="th", css="n") for model in contents.results),
    ]
    rows = []
    for name in sorted(names, key=lambda name: name != contents.headline):
        found = {m: values.get(name, math.nan) for m, values in contents.results.items()}
        known = [value for value in found.values() if not math.isnan(value)]
        best = (min if name in LOWER_IS_BETTER else max)(known, default=None)
        cells = [cell(metric_name(name), kind="th")]
        for model, value in found.items():
            css = "n best" if value == best and len(found) > 1 else "n"
            cells.append(f'<td class="{css}">{_format(value)}{_doubt(contents, model, name)}</td>')
        rows.append("".join(cells))
    note = "The best of each row is bold; of losses and errors it is the lowest."
    if contents.metric_intervals:
        note += " In small print: 95 % bootstrap intervals over rows of data."
    elif contents.intervals:
        note += " Below the first row: 95 % bootstrap intervals over rows of data."
    if contents.spread:
        note += " ± is the sample standard deviation over seeds."
    said = table(columns, rows, css="results", caption="Metrics of each model")
    remarks = "".join(f"<p>{escape(one)}.</p>" for one in contents.remarks)
    return f"{said}<p>{note if len(contents.results) > 1 else note.partition('. ')[2]}</p>{remarks}"


def _doubt(contents: ReportContents, model: str, name: str) -> str:
    """The spread over seeds and the interval over rows, in small print."""
    spread = contents.spread.get(model, {}).get(name)
    said = f" <small>± {spread:.3f}</small>" if spread is not None else ""
    interval = contents.metric_intervals.get(model, {}).get(name)
    if interval is None and name == contents.headline:
        interval = contents.intervals.get(model)
    if interval is not None:
        said += f"<br><small>{_format(interval[0])} to {_format(interval[1])}</small>"
    return said
