"""A compiled step as tables, sentences and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.report.html import cell, escape, facts
from mmjax.report.html import table as html_table
from mmjax.report.pages import Section, frame

Table = tuple[str, list[str], list[list[Any]]]
Step = Mapping[str, Any]
"""The JSON values of a compiled step."""

FORMULAS = (
    "Seconds are estimates by the chip's best figures, not measured. Matrix products: FLOPs with "
    "what is computed again, by the chips' bfloat16 peak. Memory: bytes that the compiled "
    "program's instructions take and give, each fusion as one and loops as often as they turn, by "
    "the memory's bandwidth. Collectives: a ring along one dimension of the torus, both links: an "
    "all-gather sends (n - 1) / n of its result, a reduce-scatter as much of what it is given, an "
    "all-reduce twice that. A step takes the longer of the first two, and then the collectives; "
    "what overlaps makes it shorter, what runs below its best longer. MFU counts the model's FLOPs "
    "alone. Programs are compiled with least effort unless told otherwise, and then move more "
    "bytes than they will. Whether a step fits a TPU is its compiler's word; the sum of temporary "
    "arrays is an upper bound, since not all live at once."
)


def size(count: float) -> str:
    """Bytes for people."""
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= one:
            return f"{count / one:,.2f} {unit}"
    return f"{count:,.0f} B"


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if 0 < value < 1e-4:
        return f"{value * 1e6:.2f} µs" if value >= 1e-8 else "below 0.01 µs"
    return f"{value:.3f} s" if value >= 0.1 else f"{value * 1e3:.3f} ms"


def line(step: Any) -> str:
    """One compiled step of a search, as it is made."""
    return headline(step if isinstance(step, Mapping) else step.to_json())


def headline(step: Step) -> str:
    settings = " ".join(step["settings"]) or "as it is"
    verdict = "fits" if step["fits"] else "does not fit"
    roof = step["roofline"]
    fast = f", a step in {seconds(roof['step'])} (MFU {roof['mfu']:.0%})" if roof else ""
    return (
        f"{step['topology']}, {settings}: {verdict}, {size(step['needed'])} of "
        f"{size(step['limit'])} a device{fast}"
    )


def tables(steps: Sequence[Step]) -> list[Table]:
    """Of the first step everything; of several, a line each before it."""
    found: list[Table] = []
    if len(steps) > 1:
        found.append(_ranked(steps))
    first = steps[0]
    memory = [[kind, size(bytes_)] for kind, bytes_ in first["memory"].items()]
    memory.append(["needed, at most", size(first["needed"])])
    memory.append(["there is", size(first["limit"])])
    if first.get("host"):
        memory.append(["in the host's memory", size(first["host"])])
    mesh = ", ".join(f"{axis} {count}" for axis, count in first["mesh"].items())
    found.append((f"memory of one device ({first['topology']}: {mesh})", ["", ""], memory))
    found.append(("a step", ["", ""], _costs(first)))
    if first["collectives"]:
        rows = [
            [
                one["kind"],
                one["axis"],
                one["group"],
                one["count"],
                size(one["bytes"]),
                seconds(one["seconds"]),
            ]
            for one in first["collectives"]
        ]
        columns = ["kind", "over", "devices", "times a step", "bytes of results", "on the wire"]
        found.append(("collectives", columns, rows))
    what = "largest arrays" if first["fits"] else "largest arrays, as traced"
    buffers = [[size(bytes_), shape, name] for bytes_, shape, name in first["buffers"]]
    found.append((what, ["a device", "shape", "made by"], buffers))
    return found


def _ranked(steps: Sequence[Step]) -> Table:
    rows = []
    for one in steps:
        roof = one["roofline"]
        rows.append(
            [
                "yes" if one["fits"] else "no",
                size(one["needed"]),
                seconds(roof["step"]) if roof else "-",
                f"{roof['mfu']:.1%}" if roof else "-",
                " x ".join(map(str, one["mesh"].values())),
                one["micro_batches"],
                " ".join(one["settings"]) or "as it is",
            ]
        )
    columns = ["fits", "a device", "step", "MFU", "mesh", "micro-batches", "settings"]
    return "compiled, the fastest that fit first", columns, rows


def _costs(step: Step) -> list[list[Any]]:
    rows = [
        ["rows", f"{step['batch_size']:,} in {step['micro_batches']} micro-batches"],
        ["FLOPs", f"{step['flops']:.4g}"],
        ["of these the model's", f"{step['model_flops']:.4g}"],
    ]
    if step["bytes_moved"] is not None:
        rows.append(["bytes moved on a device", size(step["bytes_moved"])])
    roof = step["roofline"]
    if roof:
        rows += [
            ["matrix products", seconds(roof["compute"])],
            ["memory", seconds(roof["memory"])],
            ["collectives", seconds(roof["collectives"])],
            ["a step", f"{seconds(roof['step'])}, {seconds(roof['overlapped'])} if all overlaps"],
            ["MFU", f"{roof['mfu']:.1%}"],
        ]
    rows.append(["processor time of compiling", f"{step['seconds']:.0f} s"])
    return rows


def sentences(steps: Sequence[Step]) -> list[str]:
    """The verdict, what was assumed, and what to change."""
    first = steps[0]
    found = [headline(first)]
    if first["assumed"]:
        found.append("assumed: " + "; ".join(first["assumed"]))
    for one in first["advice"]:
        settings = " ".join(one["settings"])
        found.append(f"to fit, {one['what']}" + (f": {settings}" if settings else ""))
    if first["advice"]:
        found.append("these are guesses: --search compiles them")
    return found


def page(title: str, steps: Sequence[Step]) -> str:
    """All of it as one file that needs no other."""
    sections: list[Section] = []
    for index, (name, columns, rows) in enumerate(tables(steps)):
        heading = name[:1].upper() + name[1:]
        body = html_table(
            [cell(column, kind="th") for column in columns] if any(columns) else [],
            [
                cell(first, kind="th") + "".join(cell(value) for value in others)
                for first, *others in rows
            ],
            caption=heading,
        )
        sections.append((f"table{index}", escape(heading), body))
    told = "".join(f"<p>{escape(one)}</p>" for one in sentences(steps)[1:])
    sections.insert(0, ("bars", "Memory by kind", _bars(steps[0])))
    if told:
        sections.append(("advice", "Assumed, and to change", told))
    sections.append(("formulas", "How this was estimated", f"<p>{escape(FORMULAS)}</p>"))
    head = f"<p><strong>{escape(headline(steps[0]))}</strong></p>"
    shown = {"devices": steps[0]["devices"], "stacks that compute again": steps[0]["remat"]}
    remat = {k: ", ".join(f"{a}: {b}" for a, b in v.items()) if isinstance(v, Mapping) else v
             for k, v in shown.items()}  # fmt: skip
    return frame(f"Compiled: {title}", sections, headline=head + facts(remat))


def _bars(step: Step) -> str:
    """Horizontal bars of bytes beside the limit, each under its name, as SVG."""
    rows = [*step["memory"].items(), ("needed", step["needed"]), ("there is", step["limit"])]
    most = max(value for _, value in rows) or 1
    parts = []
    for index, (name, value) in enumerate(rows):
        y, wide = index * 42, 310 * value / most
        over = name == "needed" and not step["fits"]
        colour = "--bad" if over else "--muted" if name == "there is" else "--accent"
        parts.append(
            f'<text x="0" y="{y + 14}">{escape(name)}</text>'
            f'<rect x="0" y="{y + 19}" width="{max(wide, 1):.1f}" height="15" '
            f'fill="var({colour})"/>'
            f'<text x="{wide + 6:.1f}" y="{y + 32}">{escape(size(value))}</text>'
        )
    return (
        f'<svg role="img" aria-label="Memory by kind" viewBox="0 0 400 {len(rows) * 42}" '
        'style="font: 14px sans-serif; fill: currentColor; width: 100%; max-width: 480px">'
        f"{''.join(parts)}</svg>"
    )
