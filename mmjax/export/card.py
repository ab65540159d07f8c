"""The model card of an exported folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mmjax.export.program import Input


@dataclasses.dataclass(frozen=True)
class Card:
    """What the card tells; texts are plain."""

    name: str
    task: str
    variant: str
    platforms: Sequence[str]
    inputs: Sequence[Input]
    outputs: Mapping[str, str]
    """By name, the type and shape of each array."""
    labels: Sequence[str]
    model: Mapping[str, str]
    data: Mapping[str, str]
    measured: Mapping[str, Mapping[str, float]]
    """By variant, what was measured on the test rows; empty if nothing was."""
    sizes: Mapping[str, int]
    """By variant, the bytes of the parameters."""
    subgroups: Sequence[tuple[Sequence[str], Sequence[Sequence[str]], Sequence[str]]] = ()
    """By what rows were told apart: the head of a table, its rows, and lines about the gaps."""
    license: str = "not stated"
    notes: Sequence[str] = ()


def written(card: Card) -> str:
    """The card as Markdown, with the header that model hubs read."""
    parts = [
        f"---\nlibrary_name: mmjax\ntags: [{card.task}]\nlicense: {_quoted(card.license)}\n---\n",
        f"# {card.name}\n",
        f"A model for {card.task.replace('_', ' ')}, trained with mmjax and exported as "
        f"{card.variant} for {', '.join(card.platforms)}.\n",
        "## Use\n",
        '```python\nimport mmjax\n\nprogram = mmjax.export.load("THIS_FOLDER")\n'
        f"program.predict({_example(card.inputs)})\n```\n",
        "`mmjax serve THIS_FOLDER` answers over HTTP. Every file is checked against `SHA256SUMS` "
        "when it is loaded. The programs are code: take them from those whom you would take code "
        "from.\n",
        "## Inputs\n",
        _table(("name", "kind", "takes", "limits"), [_input(one) for one in card.inputs]),
        "## Outputs\n",
        _table(("name", "type and shape"), list(card.outputs.items())),
    ]
    if card.labels:
        shown = ", ".join(card.labels[:50]) + (", ..." if len(card.labels) > 50 else "")
        parts.append(f"Labels ({len(card.labels)}): {shown}\n")
    parts += ["## Model\n", _table(("", ""), list(card.model.items()))]
    parts += ["## Data\n", _table(("", ""), list(card.data.items()))]
    parts += ["## Measured\n", _measured(card)]
    if card.subgroups:
        parts.append("## Subgroups\n")
        for head, rows, lines in card.subgroups:
            parts += [_table(head, rows), "\n".join(f"- {line}" for line in lines) + "\n"]
    if card.notes:
        parts += ["## Notes\n", "\n".join(f"- {note}" for note in card.notes) + "\n"]
    parts += ["## Licence\n", f"{card.license}\n"]
    return "\n".join(parts)


def _measured(card: Card) -> str:
    variants = list(card.sizes)
    names = sorted({name for one in card.measured.values() for name in one})
    rows = [("parameters", *(f"{card.sizes[one] / 1e6:.2f} MB" for one in variants))]
    rows += [
        (name, *(_number(card.measured.get(one, {}).get(name)) for one in variants))
        for name in names
    ]
    table = _table(("", *variants), rows)
    return table if names else f"{table}\nThe metrics were not measured at export.\n"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _input(one: Input) -> tuple[str, ...]:
    limits = ", ".join(
        f"{name} {' '.join(map(str, v)) if isinstance(v, list) else v}"
        for name, v in one.limits.items()
    )
    return (one.name, one.kind + (", required" if one.required else ""), one.takes, limits)


def _example(inputs: Sequence[Input]) -> str:
    shown = {"text": '"a text"', "image": '"a.png"', "audio": '"a.wav"', "video": '"a.mp4"'}
    given = []
    for one in inputs:
        if one.kind == "table":
            given += [f'"{name}": ...' for name in list(one.fields)[:2]]
        else:
            given.append(f'"{one.name}": {shown.get(one.kind, "...")}')
    return "{" + ", ".join(given) + "}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_plain(cell) for cell in line)} |\n" for line in lines)


def _plain(cell: str) -> str:
    return " ".join(str(cell).replace("|", "\\|").split())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', "'") + '"'
