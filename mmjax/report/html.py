"""Small pieces of HTML. Every function escapes what it is given, and returns markup."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.writers.console import number, printable

METRIC_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "balanced_accuracy": "Balanced accuracy",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
    "auroc": "AUROC",
    "loss": "Loss",
    "log_loss": "Log loss",
    "ece": "Calibration error",
    "ap": "Average precision",
    "mcc": "Matthews correlation",
    "micro_f1": "Micro F1",
    "samples_f1": "F1 of a row",
    "map": "Mean average precision",
    "micro_ap": "Micro average precision",
    "macro_auroc": "Macro AUROC",
    "lrap": "Label ranking precision",
    "mae": "Mean absolute error",
    "macro_mae": "Macro mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "pinball": "Pinball loss",
    "quadratic_kappa": "Quadratic kappa",
    "ap50": "Average precision at an overlap of 0.5",
    "ap75": "Average precision at an overlap of 0.75",
    "matched_iou": "Overlap of matched boxes",
    "matched_accuracy": "Right label of matched boxes",
}
LOWER_IS_BETTER = (
    *("loss", "log_loss", "ece", "perplexity", "median_rank", "mean_rank"),
    *("mae", "macro_mae", "rmse", "pinball", "interval", "hamming_loss"),
)


def escape(value: Any) -> str:
    """`value` as text, fit for content and for quoted attributes."""
    return html.escape(printable(value), quote=True)


def metric_name(name: str) -> str:
    """A metric's name for people, not yet escaped."""
    if name.startswith("top") and name.endswith("_accuracy"):
        return f"Top-{name[3:].partition('_')[0]} accuracy"
    return METRIC_NAMES.get(name, name.replace("_", " "))


def cell(value: Any, *, kind: str = "td", css: str = "") -> str:
    """A table cell of plain text; numbers, and a dash where there is none, align right."""
    classes = [css] if css else []
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        classes.append("n")
    attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<{kind}{attribute}>{escape(number(value))}</{kind}>"


def table(columns: Sequence[str], rows: Sequence[str], *, css: str = "", caption: str = "") -> str:
    """A table that scrolls sideways on a narrow screen, by the keyboard too.

    `columns` and `rows` are markup. `caption` says what it is of to those who do not see it. What
    scrolls is a group, not a landmark: a page has too many tables for that.
    """
    head = _scoped("".join(columns), "col")
    head = f"<thead><tr>{head}</tr></thead>" if columns else ""
    body = "".join(f"<tr>{_scoped(row, 'row')}</tr>" for row in rows)
    said = escape(caption)
    title = f'<caption class="unseen">{said}</caption>' if caption else ""
    role = f'role="group" aria-label="{said or "table"}" tabindex="0"'
    return (
        f'<div class="scroll" {role}><table class="{css}">{title}{head}'
        f"<tbody>{body}</tbody></table></div>"
    )


def _scoped(cells: str, scope: str) -> str:
    """Header cells that say what they head; one that heads nothing is none."""
    cells = re.sub(r"<th( [^>]*)?></th>", "<td></td>", cells)
    return re.sub(r"<th(?![^>]*scope=)(?=[ >])", f'<th scope="{scope}"', cells)


def code(text: str) -> str:
    """Lines as they are, which the keyboard can scroll sideways."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def facts(values: Mapping[str, Any]) -> str:
    """Names and values: nested mappings of numbers as tables, the rest as a list of terms."""
    terms, tables = [], []
    for name, value in values.items():
        title = str(name).replace("_", " ")
        if isinstance(value, Mapping) and value:
            title = title[:1].upper() + title[1:]
            tables.append(f"<h3>{escape(title)}</h3>{_counts(value, title)}")
            continue
        if isinstance(value, list | tuple):
            value = ", ".join(printable(item) for item in value)
        terms.append(f"<div><dt>{escape(title)}</dt><dd>{escape(number(value))}</dd></div>")
    listed = f'<dl class="facts">{"".join(terms)}</dl>' if terms else ""
    return listed + "".join(tables)


def _counts(value: Mapping[str, Any], title: str) -> str:
    if not all(isinstance(inner, Mapping) for inner in value.values()):
        return facts({k: str(v) if isinstance(v, Mapping) else v for k, v in value.items()})
    rows = dict.fromkeys(key for inner in value.values() for key in inner)
    columns = [cell("", kind="th"), *(cell(str(name), kind="th", css="n") for name in value)]
    return table(
        columns,
        [
            cell(row, kind="th") + "".join(cell(inner.get(row)) for inner in value.values())
            for row in rows
        ],
        css="counts",
        caption=title,
    )
