"""The collectives of a compiled program, read from its text."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Mapping

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
    "collective-broadcast",
)

_CALL = re.compile(
    r"^\s*(?:ROOT )?%?[\w.\-]+ = (?P<type>[^%\"]*?) "
    rf"(?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\("
)
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA = re.compile(r"replica_groups=\[\d+,(\d+)\]<=")
_MESH = re.compile(r"replica_groups=mesh\[(.*?)\][^{]*\{(.*?)\}")
_SIZE = re.compile(r"('\w+')=(\d+)")
_ARRAY = re.compile(r"(pred|[a-z]+\d+)[a-z0-9]*\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One operation among groups of `group` devices (0 where it has none) on `elements` numbers."""

    kind: str
    group: int
    elements: int


def collectives(text: str) -> list[Collective]:
    """Every collective of the HLO `text` of a compiled program (`compiled.as_text()`), in order.

    An asynchronous one counts once, by its start. The body of a loop is in the text once, and so
    are its collectives, however often it runs.
    """
    found = []
    for line in text.splitlines():
        call = _CALL.search(line)
        if call is None:
            continue
        arrays = [_size(dims) for _, dims in _ARRAY.findall(call["type"])]
        if call["start"] and call["type"].startswith("(") and call["kind"] != "all-reduce":
            # The type of a start holds the operands, then the results.
            arrays = arrays[len(arrays) // 2 :]
        found.append(Collective(call["kind"], group_of(line), sum(arrays)))
    return found


def count(text: str) -> dict[str, int]:
    """How many collectives of each kind are in the HLO `text` of a compiled program."""
    counted = collections.Counter(one.kind for one in collectives(text))
    return {kind: counted[kind] for kind in KINDS if counted[kind]}


def count_by_axis(text: str, mesh_shape: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """`count` for each mesh axis, told by the size of the group; "other" for what fits none.

    Axes of the same size cannot be told apart: they are counted under "a or b".
    """
    names = collections.defaultdict(list)
    for axis, size in mesh_shape.items():
        if size > 1:
            names[size].append(axis)
    found: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for one in collectives(text):
        found[" or ".join(names[one.group]) if one.group in names else "other"][one.kind] += 1
    return {axis: dict(kinds) for axis, kinds in found.items()}


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


def _size(dims: str) -> int:
    return math.prod(int(dim) for dim in dims.split(",") if dim)
