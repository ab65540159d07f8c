"""How good retrieval is, both ways of every pair, and queries with the rows that they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.report.examples import picture, shortened
from mmjax.report.html import cell, escape, metric_name, table
from mmjax.report.searches import Query, Seen, Way

_RIGHT = '<b role="img" aria-label="right">✓</b> '


def objectives(found: Mapping[str, Mapping[str, Any]]) -> str:
    """One line an objective: its settings and what it was measured at."""
    names = list(dict.fromkeys(name for one in found.values() for name in one))
    columns = [cell("", kind="th"), *(cell(_title(n), kind="th", css="n") for n in names)]
    rows = [
        cell(name, kind="th") + "".join(cell(one.get(column)) for column in names)
        for name, one in found.items()
    ]
    return table(columns, rows, css="results", caption="Settings and metrics of each objective")


def _title(name: str) -> str:
    shown = metric_name(name)
    return shown[:1].upper() + shown[1:]


def ways(found: Sequence[Way]) -> str:
    """Recall at each k with its interval and that of chance, and the median rank."""
    recalls = [name for name in found[0].metrics if name.startswith("recall@")]
    columns = [
        cell("", kind="th"),
        *(cell(metric_name(name).capitalize(), kind="th", css="n") for name in recalls),
        cell("Median rank", kind="th", css="n"),
        cell("Queries", kind="th", css="n"),
        cell("Answers", kind="th", css="n"),
    ]
    rows = []
    for way in found:
        cells = [cell(way.name, kind="th")]
        for name in recalls:
            low, high = way.intervals.get(name, (float("nan"), float("nan")))
            chance = min(1.0, int(name.partition("@")[2]) / way.answers)
            cells.append(
                f'<td class="n">{way.metrics[name]:.3f}<br><small>{low:.3f} to {high:.3f}'
                f" · chance {chance:.3f}</small></td>"
            )
        cells += [cell(way.metrics["median_rank"]), cell(way.queries), cell(way.answers)]
        rows.append("".join(cells))
    note = (
        "Below each: the 95 % bootstrap interval over queries, and what chance gives where one "
        "answer is right."
    )
    said = table(columns, rows, css="results", caption="Retrieval, each way")
    return said + f"<p>{note}</p>"


def queries(found: Sequence[Query]) -> str:
    """One line a query: itself, then what it found; the right one is marked."""
    parts = []
    for way in dict.fromkeys(one.way for one in found):
        own = [one for one in found if one.way == way]
        parts.append(
            f'<h3>{escape(way)} <span class="count">{len(own)}</span></h3>'
            f'<div class="queries">{"".join(map(_query, own))}</div>'
        )
    return "".join(parts)


def _query(query: Query) -> str:
    hits = "".join(
        f'<li class="hit {"right" if hit.right else "other"}">{_seen(hit.seen)}'
        f'<p class="row">{_RIGHT if hit.right else ""}{hit.similarity:.2f}</p></li>'
        for hit in query.found
    )
    rank = f"rank {query.rank:,}"
    state = "right" if query.rank == 1 else "wrong"
    return (
        f'<article class="query {state}" aria-label="row {query.seen.row}">'
        f'<div class="asked">{_seen(query.seen)}<p class="row">'
        f'<span class="mark">{rank}</span> · row {query.seen.row}</p></div>'
        f'<ol class="hits">{hits}</ol></article>'
    )


def _seen(seen: Seen) -> str:
    image = "" if seen.image is None else picture(seen.text or f"row {seen.row}", seen.image)
    text = f'<p dir="auto">{escape(shortened(seen.text, 80))}</p>' if seen.text else ""
    return f'<div class="pictures">{image}</div>{text}'
