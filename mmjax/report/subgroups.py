"""Groups of rows beside each other: how good, how sure, and how far apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.report.html import cell, escape, metric_name, table

Found = Mapping[str, Any]
"""What `subgroups.json` holds."""

GAPS = (
    "A gap is between the first and the last group; its chance is how often groups of these sizes, "
    "dealt at random, are as far apart. Overconfidence is the mean probability of the answer minus "
    "the accuracy."
)


def section(found: Found) -> str:
    """A table and the gaps of each column, as markup."""
    parts = [f"<p>{found['rows']:,} {escape(found['split'])} rows. {escape(GAPS)}</p>"]
    for column in found["columns"]:
        head, rows = tabled(found, column)
        cells = [cell(one, kind="th", css="n" if i else "") for i, one in enumerate(head)]
        lines = ["".join(_cell(one, i) for i, one in enumerate(row)) for row in rows]
        parts.append(table(cells, lines, css="results slices", caption=f"Groups by {column}"))
        parts += [f"<p>{escape(line)}</p>" for line in gaps(found, column)]
    return "".join(parts)


def tabled(found: Found, column: str) -> tuple[list[str], list[list[str]]]:
    """A column's groups as text: the heads of a table, and its rows."""
    own, metric = found["columns"][column], found["metric"]
    head = [column, "rows", metric_name(metric).lower(), "95 % interval"]
    sure = {one["name"]: one for one in own.get("overconfidence", {}).get("groups", ())}
    head += ["overconfidence", "95 % interval", "calibration error"] if sure else []
    rows = []
    for one in own[metric]["groups"]:
        row = [one["name"], f"{one['rows']:,}", f"{one['mean']:.3f}", _range(one["interval"])]
        if sure:
            other = sure[one["name"]]
            row += [f"{other['mean']:+.3f}", _range(other["interval"], "+")]
            row.append(f"{own['ece'][one['name']]:.3f}")
        rows.append(row)
    return head, rows


def gaps(found: Found, column: str) -> list[str]:
    """A line for each thing that is compared, and one for rows that are in no group."""
    own, lines = found["columns"][column], []
    for name, what in own.items():
        if isinstance(what, Mapping) and "gap" in what:
            first, last = what["groups"][0]["name"], what["groups"][-1]["name"]
            lines.append(
                f"Gap in {metric_name(name).lower()} by {column}: {what['gap']:.3f} "
                f"({_range(what['interval'])}), {first} to {last}, chance {what['chance']:.3f}."
            )
    if own["left_out"]:
        lines.append(f"{own['left_out']:,} rows have no value, or one that fewer than 5 rows have.")
    return lines


def _range(interval: Sequence[float], sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def _cell(value: str, place: int) -> str:
    return cell(value, kind="th") if place == 0 else cell(value, css="n")
