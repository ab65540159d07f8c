"""One page of explanations: it loads nothing, runs nothing, and shows data as text."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.writers.console import printable

_STYLE = """
:root{--ink:#1b1f24;--muted:#5d646d;--line:#dfe2e6;--paper:#fff;--soft:#f6f7f9}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--muted:#9aa1aa;--line:#353b43;
--paper:#15181c;--soft:#1d2126}img{background:#fff}}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem;font:16px/1.5 system-ui,sans-serif;
color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem}h2{font-size:1.2rem;border-top:1px solid var(--line);padding-top:1rem}
h3{font-size:1rem;margin:1rem 0 .3rem}p,dd{margin:.2rem 0}.m{color:var(--muted)}
table{border-collapse:collapse;font-size:.9rem}th,td{padding:.2rem .7rem .2rem 0;text-align:left;
border-bottom:1px solid var(--line)}td.n{text-align:right;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}img{max-width:100%;height:auto;border:1px solid var(--line)}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--soft);padding:.5rem;
font-size:.8rem}nav a{margin-right:.8rem}a{color:inherit}details{margin:.3rem 0}
@media print{details{display:none}section{break-inside:avoid}}
"""

_CHECKS = {
    "deletion": "deletion",
    "deletion_random": "random order",
    "deletion_moved": "moved",
    "insertion": "insertion",
    "insertion_random": "random order",
    "insertion_moved": "moved",
    "randomised": "random weights",
}


def render(
    title: str,
    summary: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, bytes],
) -> str:
    """The page as text. `lines` are those of `explanations.jsonl`, `pictures` PNGs by path."""
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for line in lines:
        rows.setdefault(line["row"], []).append(line)
    name = escape(f"{title}: explanations")
    links = "".join(f'<a href="#row-{row}">{escape(own[0]["id"])}</a>' for row, own in rows.items())
    body = "".join(_row(row, own, summary, pictures) for row, own in rows.items())
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>{name}</h1>"
        f'<p class="m">{summary["rows"]} rows of {escape(summary["split"])}. Explained is '
        f"{escape(summary['explained'])}. Orange speaks for it, blue against it.</p><main>"
        f'{_methods(summary)}<nav aria-label="rows">{links}</nav>{body}</main></body></html>\n'
    )


def escape(value: Any) -> str:
    """A value as text, fit for content and quoted attributes."""
    return html.escape(printable(value), quote=True)


def _methods(summary: Mapping[str, Any]) -> str:
    """What each method is, what it says of all rows, and how true it is."""
    parts = ["<h2>Methods</h2>"]
    checked = {n: m["checks"] for n, m in summary["methods"].items() if m["checks"]}
    if checked:
        head = "".join(f'<th scope="col">{escape(one)}</th>' for one in ("", *_CHECKS.values()))
        body = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(f'<td class="n">{_number(checks.get(key))}</td>' for key in _CHECKS)
            + "</tr>"
            for name, checks in checked.items()
        )
        parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
            '</table></div><p class="m">Areas under curves of the probability as the places that '
            "matter most are hidden (deletion: lower is better) or alone shown (insertion: higher "
            "is better), "
            "each beside that of a random order, and of the same map moved elsewhere, which is as "
            "coarse. Random weights: how much the explanation is like "
            "that of a model that learnt nothing; near 0 is as it should be.</p>"
        )
    for name, method in summary["methods"].items():
        parts.append(f'<h3>{escape(name)}</h3><p class="m">{escape(method["about"])}.</p>')
        if method["modalities"]:
            parts.append(f"<p>Mean size over rows: {_listed(method['modalities'])}</p>")
        if method["facts"]:
            parts.append(_facts(method["facts"]))
    for name, why in summary["refused"].items():
        parts.append(f'<p class="m">{escape(name)} was left out: {escape(why)}.</p>')
    return "".join(parts)


def _row(
    row: int,
    lines: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    pictures: Mapping[str, bytes],
) -> str:
    answer = summary["answers"].get(str(row), {})
    said = {k: v for k, v in answer.items() if not isinstance(v, (Mapping, list))}
    parts = [
        f'<section id="row-{row}"><h2>{escape(lines[0]["id"])}</h2><p>{_listed(said)}</p>'
        f'<p class="m">Explained: {escape(lines[0]["explained"])} = '
        f"{_number(lines[0]['score'])}</p>"
    ]
    for line in lines:
        parts.append(f"<h3>{escape(line['method'])}</h3>")
        if line["modalities"]:
            parts.append(f"<p>{_listed(line['modalities'])}</p>")
        if line["picture"] is not None:
            data = base64.b64encode(pictures[line["picture"]]).decode()
            label = escape(f"{line['method']} of row {line['id']}: {_spoken(line)}")
            parts.append(f'<img alt="{label}" src="data:image/png;base64,{data}">')
        if line["checks"]:
            parts.append(f'<p class="m">{_listed(line["checks"])}</p>')
        if "neighbours" in line["facts"]:
            parts.append(_neighbours(line["facts"]["neighbours"]))
        elif line["facts"]:
            parts.append(_facts(line["facts"]))
    return "".join([*parts, "</section>"])


def _neighbours(found: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in ("row", "is", "cosine"))
    body = "".join(
        f"<tr><td>{escape(one['id'])}</td><td>{escape(one['answer'])}</td>"
        f'<td class="n">{_number(one["cosine"])}</td></tr>'
        for one in found
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _spoken(line: Mapping[str, Any]) -> str:
    """The words or columns that matter most, for who does not see the picture."""
    named = [one for part in line["parts"].values() for one in part.get("names", ())]
    most = sorted(named, key=lambda one: -abs(one[1] or 0))[:5]
    told = ", ".join(f"{name} {value}" for name, value in most)
    return told or ", ".join(f"{name} {value}" for name, value in line["modalities"].items())


def _facts(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    return f"<details><summary>Numbers</summary><pre>{escape(text)}</pre></details>"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{escape(name)} <b>{_number(value)}</b>" for name, value in values.items())


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else escape(value)
