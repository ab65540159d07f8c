"""How good it is on the rows that have something in common."""

from __future__ import annotations

from collections.abc import Sequence

from mmjax.report.contents import Slice
from mmjax.report.html import LOWER_IS_BETTER, cell, escape, metric_name, table


def section(slices: Sequence[Slice], metric: str, whole: float | None) -> str:
    """A table a column that rows were told apart by; a slice is marked where its interval leaves
    out the value of all rows.
    """
    parts = []
    if whole is not None:
        shown = escape(metric_name(metric).lower())
        parts.append(
            f"<p>All rows: {shown} {whole:.3f}. Marked: the 95 % interval of the slice "
            "leaves that out. With many slices a few are marked by chance.</p>"
        )
    for column in dict.fromkeys(one.column for one in slices):
        own = [one for one in slices if one.column == column]
        head = [column, "Rows", metric_name(metric), "95 % interval", ""]
        columns = [cell(one, kind="th", css="n" if 0 < i < 4 else "") for i, one in enumerate(head)]
        rows = [_row(one, metric, whole) for one in own]
        caption = f"{metric_name(metric)} by {column}"
        parts.append(table(columns, rows, css="results slices", caption=caption))
    return "".join(parts)


def _row(one: Slice, metric: str, whole: float | None) -> str:
    said, mark = "-", ""
    if one.interval is not None:
        low, high = one.interval
        said = f"{low:.3f} to {high:.3f}"
        if whole is not None and not low <= whole <= high:
            better = (one.value > whole) != (metric in LOWER_IS_BETTER)
            said_of_it = "better" if better else "worse"
            mark = f'<span class="{said_of_it}">{said_of_it}</span>'
    return (
        cell(one.name, kind="th")
        + cell(one.rows)
        + cell(one.value)
        + f'<td class="n">{said}</td><td>{mark}</td>'
    )
