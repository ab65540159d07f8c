"""What is in the data: rows, which modalities they have, labels, and what is in two splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmjax.report.contents import ReportContents
from mmjax.report.html import cell, escape, facts, table

_MOST_LABELS = 60


def section(contents: ReportContents) -> str | None:
    """None where nothing is known of the data."""
    parts = []
    if contents.presence:
        parts.append(_modalities(contents.presence))
    if contents.leaks is not None:
        parts.append(_leaks(contents.leaks))
    summary = dict(contents.data_summary)
    labels = summary.pop("labels", {})
    if summary:
        parts.append(facts({name: one for name, one in summary.items() if one not in ({}, [], ())}))
    if isinstance(labels, Mapping):
        parts += [_labels(target, found) for target, found in labels.items() if found]
    return "".join(parts) or None


def _labels(target: str, found: Mapping[str, Mapping[str, int]]) -> str:
    """Rows of each label, by split."""
    names = list(dict.fromkeys(name for counts in found.values() for name in counts))
    columns = [cell(target, kind="th"), *(cell(split, kind="th", css="n") for split in found)]
    rows = [
        cell(name, kind="th") + "".join(cell(counts.get(name)) for counts in found.values())
        for name in names[:_MOST_LABELS]
    ]
    more = len(names) - _MOST_LABELS
    rest = f"<p>{more:,} more labels are in data_summary.json.</p>" if more > 0 else ""
    listed = table(columns, rows, css="counts", caption=f"Rows of each {target}, by split")
    return f"<h3>{escape(target[:1].upper() + target[1:])}</h3>{listed}{rest}"


def _modalities(presence: Mapping[str, Mapping[str, tuple[int, int]]]) -> str:
    splits = list(dict.fromkeys(split for found in presence.values() for split in found))
    columns = [cell("Rows with", kind="th"), *(cell(one, kind="th", css="n") for one in splits)]
    columns.append(cell("Missing", kind="th", css="n"))
    rows = []
    for name, found in presence.items():
        have = sum(count for count, _ in found.values())
        rows_of = sum(count for _, count in found.values())
        missing = 1 - have / rows_of if rows_of else 0.0
        rows.append(
            cell(name, kind="th")
            + "".join(cell(found[one][0] if one in found else None) for one in splits)
            + f'<td class="n">{missing:.1%}</td>'
        )
    caption = "Rows that have each modality, by split"
    return f"<h3>Modalities</h3>{table(columns, rows, css='counts', caption=caption)}"


def _leaks(lines: Sequence[str]) -> str:
    if not lines:
        return (
            "<h3>Leaks between splits</h3><p>No row of another split has all its inputs, or a "
            "file, in common with a training row.</p>"
        )
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h3>Leaks between splits</h3><ul class="leaks">{listed}</ul>'
