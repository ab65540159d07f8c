"""How good it is for each class, and what it takes for what."""

from __future__ import annotations

import numpy as np

from mmjax.report.contents import ReportContents
from mmjax.report.html import cell, escape, table

_MOST_CELLS = 40
"""Classes up to which the confusion matrix is a table; a page of more cells helps nobody."""

_MOST_PAIRS = 8
_MORE = {"ap": "Average precision", "auroc": "AUROC", "threshold": "Threshold"}
"""What labels have besides, that do not exclude each other."""


def per_class(contents: ReportContents) -> str:
    """Precision, recall, F1 and support, and the other models' F1; commonest class first."""
    others = [name for name in contents.results if name != contents.subject]
    names = sorted(
        (n for n in contents.label_names if f"f1/{n}" in contents.metrics),
        key=lambda n: -contents.metrics.get(f"support/{n}", 0),
    )
    more = [k for k in _MORE if names and f"{k}/{names[0]}" in contents.metrics]
    columns = [
        cell("Class", kind="th"),
        *(cell(title, kind="th", css="n") for title in ("Support", "Precision", "Recall")),
        cell("F1", kind="th", css="bar"),
        *(cell(_MORE[k], kind="th", css="n") for k in more),
        *(cell(f"F1, {name}", kind="th", css="n") for name in others),
    ]
    rows = []
    for name in names:
        support, precision, recall, f1 = (
            contents.metrics.get(f"{column}/{name}", float("nan"))
            for column in ("support", "precision", "recall", "f1")
        )
        rows.append(
            cell(name, kind="th")
            + cell(int(support) if float(support).is_integer() else support)
            + cell(float(precision))
            + cell(float(recall))
            + f'<td class="bar"><b>{f1:.3f}</b><i><i style="width:{100 * f1:.1f}%"></i></i></td>'
            + "".join(cell(contents.metrics.get(f"{k}/{name}")) for k in more)
            + "".join(cell(contents.results[other].get(f"f1/{name}")) for other in others)
        )
    return table(columns, rows, css="classes", caption="Precision, recall and F1 of each class")


def confusion(contents: ReportContents) -> str:
    """A heat map shaded by the share of each row, and the pairs most often confused."""
    counts = np.asarray(contents.confusion)
    names = list(contents.label_names)
    support = counts.sum(axis=1)
    share = np.divide(
        counts, support[:, None], out=np.zeros(counts.shape), where=support[:, None] > 0
    )
    pairs = _pairs(counts, names)
    if len(names) > _MOST_CELLS:
        note = f"<p>{len(names)} classes: the whole matrix is in plots/confusion.png.</p>"
        return note + pairs
    head = "".join(
        f'<th scope="col" title="{escape(name)}"><span>{escape(name)}</span></th>' for name in names
    )
    rows = []
    for i, name in enumerate(names):
        cells = "".join(
            _cell(counts[i, j], share[i, j], i == j, name, names[j]) for j in range(len(names))
        )
        rows.append(
            f'<th scope="row">{escape(name)}</th>{cells}<td class="sum">{support[i]:g}</td>'
        )
    grid = table(
        [f'<th class="corner">true ↓ predicted →</th>{head}<th>sum</th>'],
        rows,
        css="heat",
        caption="True classes against predicted ones",
    )
    return (
        "<p>Counts, shaded by the share of their row: blue for right, red for taken for another."
        f'</p><div class="beside">{grid}{pairs}</div>'
    )


def _cell(count: float, share: float, right: bool, truth: str, predicted: str) -> str:
    classes = "right" if right else "wrong"
    said = escape(f"{truth} taken for {predicted}: {count:g} ({share:.0%})")
    shade = f' style="--share:{max(share, 0.04):.3f}"' if count else ""
    return f'<td class="{classes}"{shade} title="{said}">{f"{count:g}" if count else ""}</td>'


def _pairs(counts: np.ndarray, names: list[str]) -> str:
    support = counts.sum(axis=1)
    wrong = np.array(counts, np.float64)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = [
        cell(names[i], kind="th")
        + cell(names[j])
        + f'<td class="n">{counts[i, j]:g} of {support[i]:g}</td>'
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    if not rows:
        return ""
    columns = [
        cell("True", kind="th"),
        cell("Taken for", kind="th"),
        cell("Rows", kind="th", css="n"),
    ]
    title = "Most often confused"
    return f"<div><h3>{title}</h3>{table(columns, rows, css='pairs', caption=title)}</div>"
