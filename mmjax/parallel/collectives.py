"""The collectives of a compiled program."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

from mmjax.parallel.mesh import BATCH_AXES
from mmjax.parallel.program import Instruction, Program, arrays_of, size_of

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
    "collective-broadcast",
)

SLICES = -1
"""The group of what is sent between slices of TPUs, over their slower network."""

_BETWEEN = re.compile(r'_xla_megascale_transfer_type="(\w+)"')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA = re.compile(r"replica_groups=\[\d+,(\d+)\]<=")
_MESH = re.compile(r"replica_groups=mesh\[(.*?)\][^{]*\{(.*?)\}")
_SIZE = re.compile(r"('\w+')=(\d+)")


@dataclasses.dataclass(frozen=True)
class Sent:
    """A collective: `bytes` of one device's result, each of `times` times in a step."""

    kind: str
    group: int
    """The devices of one group; 0 where it has none, `SLICES` between slices."""
    bytes: float
    times: int
    operation: str = dataclasses.field(default="", compare=False)
    """What the model calls it, or the program."""


def collectives(program: Program) -> list[Sent]:
    """Every collective, as often as it runs; one that is split into a start and an end once."""
    found: dict[str, Sent] = {}
    for name, times in program.runs.items():
        here = program.computations.get(name, [])
        for one in here:
            if one.code == "send" and (between := _BETWEEN.search(one.rest)):
                kind = between[1].lower().replace("_", "-")
                # The type of a send holds what is sent, then flags.
                size = size_of(arrays_of(one.type)[0])
                key = f"{kind} {name} {one.name}"
                found[key] = Sent(kind, SLICES, size, times, one.operation)
                continue
            kind = one.code.removesuffix("-start")
            if kind not in KINDS:
                continue
            size = _of_start(one, kind) if one.code.endswith("-start") else one.bytes
            channel = _CHANNEL.search(one.rest)
            # The clones of one collective share its channel.
            key = f"{kind} {channel[1]}" if channel else f"{kind} {name} {one.name}"
            if "all-reduce-scatter" in name and kind == "all-reduce":
                # A TPU's reduce-scatter is written as a fusion of an all-reduce and a slice. Some
                # that were put together of several have a channel in common.
                root = next((i for i in here if i.root), one)
                kind, size = "reduce-scatter", root.bytes
                key = f"{kind} {name}"
            if key not in found or found[key].times < times:
                told = one if "op_name" in one.rest else program.fusions.get(name, one)
                found[key] = Sent(kind, group_of(one.rest), size, times, told.operation)
    return list(found.values())


def count(sent: Iterable[Sent]) -> dict[str, int]:
    """How often collectives of each kind run."""
    counted: collections.Counter[str] = collections.Counter()
    for one in sent:
        counted[one.kind] += one.times
    return {kind: counted[kind] for kind in KINDS if counted[kind]}


def count_by_axis(sent: Iterable[Sent], mesh: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """`count` for each mesh axis of `axes_by_size`; "other" for what fits none."""
    names = axes_by_size(mesh)
    parts: dict[str, list[Sent]] = collections.defaultdict(list)
    for one in sent:
        parts[names.get(one.group, "other")].append(one)
    return {axis: count(several) for axis, several in parts.items()}


def axes_by_size(mesh: Mapping[str, int]) -> dict[int, str]:
    """The mesh axes, or several together, that have groups of each size: "a or b" where the size
    does not tell."""
    names: dict[int, list[str]] = collections.defaultdict(list)
    for axis, size in mesh.items():
        if size > 1:
            names[size].append(axis)
    rows = [axis for axis in BATCH_AXES if mesh.get(axis, 1) > 1]
    if len(rows) > 1:
        names[mesh[rows[0]] * mesh[rows[1]]].append(" x ".join(rows))
    total = math.prod(mesh.values())
    if total not in names and total > 1:
        names[total].append("all")
    told = {size: " or ".join(dict.fromkeys(found)) for size, found in names.items()}
    return {**told, SLICES: "slices"}


def group_of(line: str) -> int:
    """The devices of one group, in any of the three ways in which XLA writes them."""
    if listed := _LISTED.search(line):
        return len(listed[1].split(","))
    if iota := _IOTA.search(line):
        return int(iota[1])
    if mesh := _MESH.search(line):
        sizes = dict(_SIZE.findall(mesh[1]))
        return math.prod(int(sizes[axis]) for axis in mesh[2].split(","))
    return 0


def _of_start(one: Instruction, kind: str) -> float:
    """Bytes of what an asynchronous collective results in."""
    if not one.type.startswith("(") or kind == "all-reduce":
        return one.bytes
    # The type of a start holds the operands, then the results, then flags of 4 bytes.
    arrays = [array for array in arrays_of(one.type) if array not in ("u32[]", "s32[]")]
    return sum(map(size_of, arrays[len(arrays) // 2 :]))
