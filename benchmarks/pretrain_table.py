"""The results of `benchmarks.pretrain_emoji` as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmjax.metrics import mean_and_spread

COLUMNS = {
    "validation": ("validation", "mean"),
    "Twemoji": ("test", "twemoji"),
    "Noto": ("test", "noto"),
    "mean of the two": ("test", "mean"),
    "both drawings": ("test", "both drawings"),
    "R@1": ("test", "recall@1"),
}


def cell(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± sample standard deviation; empty without values."""
    if not values:
        return ""
    mean, deviation = mean_and_spread(values)
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if len(values) > 1 else "")


def to_markdown(result: dict[str, Any], rows: Sequence[str]) -> str:
    """Retrieval by row, then drawings, objectives and languages, and how they were measured."""
    by_row = {row: [run for run in result["runs"] if run["row"] == row] for row in rows}
    by_row = {row: runs for row, runs in by_row.items() if runs}
    lines = [
        f"| recall@10, name and picture | {' | '.join(COLUMNS)} | processor seconds |",
        f"|---|{'---:|' * (len(COLUMNS) + 1)}",
    ]
    for row, runs in by_row.items():
        cells = [cell([run[split][name] for run in runs]) for split, name in COLUMNS.values()]
        cells.append(cell([run["seconds"] for run in runs], 0))
        lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += [
        "",
        "Recall@10, mean of name to picture and picture to name, 389 unseen concepts (chance "
        "0.026; `validation`: 234 concepts, the mean of the two drawings). Mean ± sample standard "
        f"deviation over seeds {', '.join(map(str, sorted({r['seed'] for r in result['runs']})))}; "
        f"{result['cores']} cores of {result['cpu']}, jax {result['versions']['jax']}, Python "
        f"{result['python']}, {result['date']}. Processor seconds, of all cores together, are of "
        "the whole training with its evaluations, without the teacher's.",
    ]
    for part, heading in (("drawings", "Twemoji and Noto, recall@1"), ("objectives", "objectives")):
        lines += _part(by_row, part, heading)
    for runs in by_row.values():
        found = [run["languages"] for run in runs if "languages" in run]
        if found:
            lines += ["", "Recall@10 (both drawings) by names in other languages, from scratch: "]
            each = (f"{name} {cell([one[name] for one in found])}" for name in found[0])
            lines[-1] += ", ".join(each) + "."
    return "\n".join(lines) + "\n"


def _part(by_row: dict[str, list[dict[str, Any]]], part: str, heading: str) -> list[str]:
    found = {row: [run[part] for run in runs if run.get(part)] for row, runs in by_row.items()}
    found = {row: [one.get("test", one) for one in runs] for row, runs in found.items() if runs}
    if not found:
        return []
    names = list(dict.fromkeys(name for runs in found.values() for name in runs[0]))
    return [
        "",
        f"| {heading} | {' | '.join(names)} |",
        f"|---|{'---:|' * len(names)}",
        *(
            f"| {row} | {' | '.join(cell([one[n] for one in runs if n in one]) for n in names)} |"
            for row, runs in found.items()
        ),
    ]
