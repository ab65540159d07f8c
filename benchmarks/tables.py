"""The results of a micro-benchmark as Markdown and as a plot."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]

MILLI, MEBI = 1e3, 2**20


def groups(measured: Sequence[Record]) -> list[list[Record]]:
    """The variants of one case, case by case, in their order."""
    by_case = itertools.groupby(measured, key=lambda one: (one["size"], one["what"]))
    return [list(group) for _, group in by_case]


def baselines(measured: Sequence[Record], against: Sequence[str]) -> list[str]:
    """The variants of other libraries; their names begin with the library's."""
    names = dict.fromkeys(one["variant"] for one in measured)
    return [name for name in names if name.split()[0] in against]


def ratio(record: Record, baseline: str) -> str:
    """How many times faster, with the middle half of the rounds."""
    found = record["faster_than"].get(baseline)
    if found is None:
        return "1" if record["variant"] == baseline else ""
    low, high = found["quartiles"]
    return f"{found['median']:.2f} ({low:.2f}-{high:.2f})"


def case_lines(found: Sequence[Record], against: Sequence[str]) -> str:
    """A case for the terminal."""
    lines = [f"{found[0]['what']}, {found[0]['size']}"]
    for one in found:
        low, high = one["seconds_quartiles"]
        ratios = [f"{ratio(one, name)} x {name}" for name in baselines(found, against)]
        time = f"{one['seconds'] * MILLI:9.2f} ms ({low * MILLI:.2f}-{high * MILLI:.2f})"
        rate = "" if one["gflops"] is None else f"{one['gflops']:7.1f} GFLOP/s"
        lines.append(f"  {one['variant']:44s} {time:28s} {rate} {', '.join(ratios)}")
    return "\n".join(lines)


def to_markdown(result: dict[str, Any]) -> str:
    """One row a variant; below it where, when and how it was measured."""
    measured, peaks = result["measured"], result["peaks"]
    others = baselines(measured, result["against"])
    columns = [
        "size",
        "what",
        "variant",
        "ms",
        *(f"times faster than {name}" for name in others),
        "GFLOP/s",
        "of matmul peak",
        "of bandwidth peak",
        "per second",
        "error",
        "compile s",
        "temp MiB",
    ]
    rows = []
    for one in measured:
        peak = peaks.get(f"{one['dtype']}_gflops")
        rows.append(
            [
                one["size"],
                one["what"],
                one["variant"],
                f"{one['seconds'] * MILLI:.2f}",
                *(ratio(one, name) for name in others),
                _number(one["gflops"], ".0f"),
                _number(one["gflops"], ".0%", peak),
                _number(one["gbytes"], ".0%", peaks["gbytes"]),
                _number(one["examples_per_second"], ",.0f"),
                _number(one["error"], ".0e"),
                _number(one["compile_seconds"], ".1f"),
                _number(one["temp_bytes"], ".1f", MEBI),
            ]
        )
    used = [place for place in range(len(columns)) if place < 4 or any(row[place] for row in rows)]
    header = [columns[place] for place in used]
    lines = [
        f"| {' | '.join(header)} |",
        f"|{'---|' * 3}{'---:|' * (len(used) - 3)}",
        *(f"| {' | '.join(row[place] for place in used)} |" for row in rows),
        "",
        about_line(result),
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None, form: str, over: float | None = 1.0) -> str:
    return "" if value is None or not over else format(value / over, form)


def about_line(result: dict[str, Any]) -> str:
    peaks, versions = result["peaks"], result["versions"]
    used = ", ".join(f"{name} {versions[name]}" for name in versions)
    return (
        f"{result['device']}, {result['cpu']}; {result['clock']}; medians of {result['rounds']} "
        "interleaved rounds, in brackets the middle half of the ratios within a round. Measured "
        f"peaks: {peaks['float32_gflops']:.0f} GFLOP/s in float32, {peaks['bfloat16_gflops']:.0f} "
        f"in bfloat16, {peaks['gbytes']:.0f} GB/s. Error: the largest against float64, over the "
        f"array's largest value. {used}; {result['date']}, load {result['load_average']}."
    )


def plot(result: dict[str, Any], path: Path) -> None:
    """Bars, one group a case: times faster than the first baseline, else GFLOP/s or calls/s."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    cases = groups(result["measured"])
    others = baselines(result["measured"], result["against"])
    names = list(dict.fromkeys(one["variant"] for case in cases for one in case))
    colors = dict(zip(names, itertools.cycle(pyplot.get_cmap("tab20")(range(20))), strict=False))
    bars = sum(map(len, cases))
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.22 * bars + 0.25 * len(cases)))
    place, ticks = 0.0, []
    for case in cases:
        first = place
        for one in case:
            value, spread = _bar(one, others[0] if others else None)
            axes.barh(place, value, color=colors[one["variant"]], xerr=spread, error_kw={"lw": 0.8})
            axes.text(0, place, f" {one['variant']}", va="center", fontsize=6)
            place += 1
        ticks.append(((first + place - 1) / 2, f"{case[0]['size']}\n{case[0]['what']}"))
        place += 1
    axes.set_yticks([where for where, _ in ticks], [label for _, label in ticks], fontsize=6)
    axes.invert_yaxis()
    if others:
        axes.axvline(1.0, color="black", lw=0.8)
    has_flops = all(one["gflops"] is not None for case in cases for one in case)
    unit = "GFLOP/s" if has_flops else "calls a second"
    axes.set_xlabel(f"times faster than {others[0]}" if others else unit)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _bar(record: Record, baseline: str | None) -> tuple[float, list[list[float]] | None]:
    """The length of a bar, and how far it reaches below and above."""
    if baseline is None:
        return record["gflops"] or 1 / record["seconds"], None
    found = record["faster_than"].get(baseline)
    if found is None:
        return 1.0 if record["variant"] == baseline else 0.0, None
    low, high = found["quartiles"]
    return found["median"], [[found["median"] - low], [high - found["median"]]]
