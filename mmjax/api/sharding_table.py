"""Where the parameters and optimiser states of a config live on a mesh: a table and a drawing."""

from __future__ import annotations

import collections
from typing import Any

from mmjax.api.compiling import prepared_ahead
from mmjax.parallel.layout import OPTIMISER, Place, places
from mmjax.parallel.mesh import make_mesh
from mmjax.parallel.topology import Topology
from mmjax.report.compiled import size
from mmjax.report.html import cell, escape
from mmjax.report.html import table as html_table
from mmjax.report.pages import Section, frame
from mmjax.train.config import Config
from mmjax.train.trainer import Trainer

Table = tuple[str, list[str], list[list[Any]]]
_COLUMNS = ["path", "shape", "dtype", "logical axes", "mesh axes", "a device", "whole because"]
_COLOURS = ("#777", "#2b6cb0", "#2f855a", "#b7791f", "#6b46c1", "#b3261e")


def sharding(
    config: Config, *, topology: str | None = None, vocabulary: int | None = None
) -> list[Place]:
    """Every array of the training state, on this machine's devices or those of a `topology`.

    Nothing is compiled, and of a topology no device is needed. Rows are read only where shapes
    depend on them. Raises ConfigError as `compile`.
    """
    place = None if topology is None else Topology.parse(topology)
    mesh: Any = make_mesh(config.mesh) if place is None else place.shape_alone(config.mesh)
    config, dataset, _ = prepared_ahead(config, None, vocabulary)
    plan = Trainer.build(config, dataset, mesh=mesh).plan
    parts = {"parameters": "params", OPTIMISER: "opt_state", "averaged parameters": "ema"}
    return [
        one
        for kind, name in {**parts, "other variables": "collections"}.items()
        for one in places(
            kind, getattr(plan.boxed, name), getattr(plan.shardings, name), config.mesh.overrides
        )
    ]


def tables(found: list[Place]) -> list[Table]:
    """A table of each part of the state, and the sums."""
    kinds = list(dict.fromkeys(one.kind for one in found))
    tables_ = [(kind, _COLUMNS, [row(one) for one in found if one.kind == kind]) for kind in kinds]
    sums = []
    for kind in kinds:
        mine = [one for one in found if one.kind == kind]
        here, copied = sum(one.bytes for one in mine), sum(o.bytes for o in mine if o.copies)
        sums.append([kind, size(sum(o.whole for o in mine)), size(here), f"{copied / here:.1%}"])
    columns = ["part", "whole", "a device", "of it in copies"]
    return [*tables_, ("the state", columns, sums)]


def row(one: Place) -> list[str]:
    return [
        one.path,
        str(list(one.shape)),
        one.dtype,
        ", ".join(name or "-" for name in one.names),
        ", ".join("+".join(axes) or "-" for axes in one.axes),
        size(one.bytes),
        one.why,
    ]


def page(title: str, found: list[Place]) -> str:
    """The table and a drawing of what a device holds by layout, as one file."""
    sections: list[Section] = [("drawn", "What a device holds", drawing(found))]
    for index, (name, columns, rows) in enumerate(reversed(tables(found))):
        body = html_table(
            [cell(column, kind="th") for column in columns],
            ["".join(cell(value) for value in one) for one in rows],
            caption=name.capitalize(),
        )
        sections.append((f"table{index}", escape(name.capitalize()), body))
    return frame(f"Sharding: {title}", sections)


def drawing(found: list[Place]) -> str:
    """A bar for each part of the state, its bytes on a device by layout, as SVG."""
    layouts = list(dict.fromkeys(one.layout for one in found))
    colours = {one: _COLOURS[i % len(_COLOURS)] for i, one in enumerate(sorted(layouts))}
    sums: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in found:
        sums[one.kind][one.layout] += one.bytes
    most = max(max(sum(parts.values()) for parts in sums.values()), 1)
    marks = []
    for index, (kind, parts) in enumerate(sums.items()):
        x, y = 160.0, index * 30
        marks.append(f'<text x="152" y="{y + 19}" text-anchor="end">{escape(kind)}</text>')
        for layout, bytes_ in sorted(parts.items()):
            wide = 520 * bytes_ / most
            told = escape(f"{layout}: {size(bytes_)}")
            marks.append(
                f'<rect x="{x:.1f}" y="{y + 4}" width="{max(wide, 0.5):.1f}" height="22" '
                f'fill="{colours[layout]}"><title>{told}</title></rect>'
            )
            x += wide
    below = len(sums) * 30 + 16
    for index, (layout, colour) in enumerate(sorted(colours.items())):
        x = 160 + index * 130
        marks.append(
            f'<rect x="{x}" y="{below}" width="12" height="12" fill="{colour}"/>'
            f'<text x="{x + 18}" y="{below + 11}">{escape(layout)}</text>'
        )
    wide = max(720, 180 + 130 * len(colours))
    return (
        f'<div class="scroll"><svg role="img" aria-label="Bytes of a device by layout" '
        f'width="{wide}" height="{below + 24}" style="font: 12px sans-serif; fill: currentColor">'
        f"{''.join(marks)}</svg></div>"
    )
