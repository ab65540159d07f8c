"""A compiled program's text as computations: how often each runs, and what it moves."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Mapping

_HEADER = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{$")
_LINE = re.compile(
    r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<type>.*?) (?P<code>[a-z][a-z0-9\-]*)\("
    r"(?P<rest>.*)$"
)
_NAMES = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(calls|body|condition|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")
_TRIPS = re.compile(r'known_trip_count"?:\s*\{"?n"?:\s*"?(\d+)')
_CONSTANT = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = [su]32\[\][^ ]* constant\((\d+)\)")
_INDEX = re.compile(r"index=(\d+)")
_OPERATION = re.compile(r'op_name="([^"]*)"')
_ARRAY = re.compile(r"(pred|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")
_SOURCES = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota"}
_CONTROL = {"while", "conditional", "call", "after-all", "async-start", "async-update"}
_NOISE = re.compile(
    r"jit\(.*\)|jvp\(.*\)|transpose\(.*|while|body|closed_call|branch_\d_fun|cond|checkpoint"
    r"|rematted_computation|\w+\.\S+|\(?[A-Z]\w*|"
)
_LONGEST = 100
_LAST = "last_iteration_noop"
"""What XLA calls the branch of a loop's last turn that does not send on what nobody waits for."""
_WIDTHS = {"pred": 1, "s4": 0.5, "u4": 0.5}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    code: str
    type: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    @property
    def bytes(self) -> float:
        """Of its result."""
        return size_of(self.type)

    @property
    def operation(self) -> str:
        """What the model calls it, such as "forward: encoders_image/patches/dot_general"."""
        found = _OPERATION.search(self.rest)
        return (readable(found[1]) if found else "") or self.name


def size_of(type_: str, *, outside: bool = False) -> float:
    """Bytes of an HLO type, a tuple's parts together; `outside` leaves out what a TPU keeps in its
    own fast memory."""
    total = 0.0
    for kind, dims, layout in _ARRAY.findall(type_):
        if outside and "S(1)" in layout:
            continue
        total += math.prod(int(dim) for dim in dims.split(",") if dim) * width_of(kind)
    return total


def arrays_of(type_: str) -> list[str]:
    """The arrays of an HLO type, without their layouts."""
    return [f"{kind}[{dims}]" for kind, dims, _ in _ARRAY.findall(type_)]


def width_of(kind: str) -> float:
    """Bytes of one number of an HLO element type."""
    if kind in _WIDTHS:
        return _WIDTHS[kind]
    bits = re.search(r"\d+", kind)
    return int(bits[0]) / 8 if bits else 0


def readable(name: str) -> str:
    """A traced operation's name as a person would say it: which pass, whose, what."""
    first = name.partition(":")[0]
    parts = [part for part in first.split("/") if not _NOISE.fullmatch(part)]
    passes = {"transpose(jvp": "backward: ", "jvp(": "forward: "}
    which = next((told for mark, told in passes.items() if mark in first), "")
    kept = [part.strip("()") for part in parts]
    return which + "/".join(dict.fromkeys(kept))[-_LONGEST:]


class Program:
    """The computations of an HLO text, and how often a step runs each.

    Bodies of loops count as often as the loop turns, which XLA's own cost analysis does not do.
    Both branches of a conditional count, but those that XLA spares a loop's last turn.
    """

    def __init__(self, text: str):
        self.computations: dict[str, list[Instruction]] = {}
        self._constants: dict[str, dict[str, int]] = collections.defaultdict(dict)
        self.entry = ""
        self._read(text)
        self.times: collections.Counter[str] = collections.Counter()
        """How often each computation that is not part of another's fusion runs."""
        self._fused: collections.Counter[str] = collections.Counter()
        self.fusions: dict[str, Instruction] = {}
        """The instruction whose fusion each computation is."""
        if self.entry:
            self._visit(self.entry, 1)

    def _read(self, text: str) -> None:
        current: list[Instruction] | None = None
        name = ""
        for line in text.splitlines():
            if current is None:
                header = _HEADER.match(line)
                if header is not None:
                    name, current = header["name"], []
                    self.entry = name if header["entry"] else self.entry
                continue
            if line.startswith("}"):
                self.computations[name], current = current, None
                continue
            if (constant := _CONSTANT.match(line)) is not None:
                self._constants[name][constant[1]] = int(constant[2])
            found = _LINE.match(line)
            if found is not None:
                operands = _NAMES.findall(found["rest"].partition(")")[0])
                current.append(
                    Instruction(
                        found["name"],
                        found["code"],
                        found["type"],
                        tuple(operands),
                        found["rest"],
                        bool(found["root"]),
                    )
                )

    def _visit(self, name: str, times: int, fused: bool = False, turns: int = 1) -> None:
        """`turns` are those of the loop that the computation is the body of."""
        (self._fused if fused else self.times)[name] += times
        for one in self.computations.get(name, ()):
            called = dict(_CALLED.findall(one.rest))
            if one.code == "while":
                each = self._trips(one, called)
                self._visit(called["body"], times * each, fused, each)
            elif one.code == "fusion":
                self.fusions[called["calls"]] = one
                self._visit(called["calls"], times, True)
            elif one.code in ("call", "async-start", "custom-call"):
                for key in ("to_apply", "calls"):
                    if key in called and called[key] in self.computations:
                        self._visit(called[key], times, fused)
            elif one.code == "conditional":
                found = _BRANCHES.search(one.rest)
                branches = _NAMES.findall(found[1]) if found else [*called.values()]
                last = any(branch.startswith(_LAST) for branch in branches)
                for branch in branches:
                    spared = times // turns if last and not branch.startswith(_LAST) else 0
                    self._visit(branch, times - spared, fused)

    def _trips(self, one: Instruction, called: Mapping[str, str]) -> int:
        """How often a loop turns: as XLA says, or until what its condition compares with."""
        if (found := _TRIPS.search(one.rest)) is not None:
            return int(found[1])
        condition = called.get("condition", "")
        inside = self.computations.get(condition, [])
        names = [condition, *(name for i in inside for _, name in _CALLED.findall(i.rest))]
        limits = [n for name in names for n in self._constants.get(name, {}).values()]
        return max(-(-max(limits, default=1) // self._stride(inside, called.get("body", ""))), 1)

    def _stride(self, condition: list[Instruction], body: str) -> int:
        """By how much a turn moves what the condition compares; 1 if that is not plain."""
        compared = next((one for one in condition if one.root and one.code == "compare"), None)
        given = {one.name: one for one in condition}
        if compared is None or compared.operands[0] not in given:
            return 1
        index = _INDEX.search(given[compared.operands[0]].rest)
        here = {one.name: one for one in self.computations.get(body, ())}
        root = next((one for one in here.values() if one.root), None)
        if index is None or root is None or int(index[1]) >= len(root.operands):
            return 1
        moved = here.get(root.operands[int(index[1])])
        if moved is None or moved.code != "add":
            return 1
        steps = [self._constants[body].get(name) for name in moved.operands]
        return next((step for step in steps if step), 1)

    @property
    def runs(self) -> collections.Counter[str]:
        """How often each computation runs, whether part of a fusion or not."""
        return self.times + self._fused

    def bytes_moved(self) -> float:
        """Bytes that one device reads from and writes to its memory in a step.

        What every instruction takes and gives, a fusion as one; of what is sliced or updated in
        place, the slice. Instructions that only name things move nothing.
        """
        total = 0.0
        for name, times in self.times.items():
            here = {one.name: one for one in self.computations.get(name, ())}
            total += times * sum(self._moved(one, here) for one in here.values())
        return total

    def _moved(self, one: Instruction, here: Mapping[str, Instruction]) -> float:
        if one.code in _SOURCES or one.code in _CONTROL or one.code.endswith("-done"):
            return 0.0
        given = [size_of(here[n].type, outside=True) if n in here else 0.0 for n in one.operands]
        made = size_of(one.type, outside=True)
        if one.code in ("dynamic-slice", "slice", "gather"):
            return 2 * made
        if one.code == "dynamic-update-slice":
            return 2 * given[1] if len(given) > 1 else made
        if one.code == "fusion":
            inner = self.computations.get(dict(_CALLED.findall(one.rest)).get("calls", ""), [])
            return _of_fusion(inner, given, made)
        return sum(given) + made

    def largest(self, count: int = 8) -> list[tuple[float, str, str]]:
        """The largest arrays: bytes, shape, and what the model calls the operation that makes it.

        Arguments and what only names another are left out.
        """
        found: dict[tuple[str, str], float] = {}
        for name in self.times:
            for one in self.computations.get(name, ()):
                if one.code in _SOURCES or one.code in _CONTROL or one.code.endswith("-done"):
                    continue
                for kind, dims, layout in _ARRAY.findall(one.type):
                    size = size_of(f"{kind}[{dims}]{layout}", outside=True)
                    key = (f"{kind}[{dims}]", one.operation)
                    found[key] = max(found.get(key, 0.0), size)
        ranked = sorted(found.items(), key=lambda item: -item[1])[:count]
        return [(size, shape, operation) for (shape, operation), size in ranked]


def _of_fusion(inner: list[Instruction], given: list[float], made: float) -> float:
    """What a fusion reads and writes, given the bytes of its operands and of its result."""
    here = {one.name: one for one in inner}
    users: dict[str, list[Instruction]] = collections.defaultdict(list)
    for one in inner:
        for name in one.operands:
            users[name].append(one)
    total = 0.0
    for one in inner:
        if one.code != "parameter":
            continue
        index = int(one.rest.partition(")")[0])
        size = given[index] if index < len(given) else one.bytes
        uses = users[one.name]
        if uses and all(u.code == "dynamic-slice" and u.operands[0] == one.name for u in uses):
            size = min(size, sum(u.bytes for u in uses))
        elif uses and all(
            u.code == "dynamic-update-slice" and u.operands[0] == one.name for u in uses
        ):
            size = 0.0
        total += size
    updates = [one for one in inner if one.code == "dynamic-update-slice"]
    saved = sum(
        one.bytes - (here[one.operands[1]].bytes if one.operands[1] in here else 0.0)
        for one in updates
        if len(one.operands) > 1
    )
    return total + max(made - saved, 0.0)
