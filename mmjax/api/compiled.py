"""What is told of a step that was compiled ahead of time, and by which formulas."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from mmjax.parallel.chips import Chip, seconds_on_wire
from mmjax.parallel.collectives import SLICES, Sent, axes_by_size
from mmjax.parallel.topology import Topology
from mmjax.train.ahead import Ahead, local_bytes, state_bytes


@dataclasses.dataclass(frozen=True)
class Collectives:
    """All collectives of one kind among groups of one size."""

    kind: str
    axis: str
    """The mesh axis of such groups; "a or b" where sizes do not tell."""
    group: int
    count: int
    """Of a step, each as often as it runs."""
    bytes: float
    """Of the results on one device, together."""
    seconds: float | None
    """On the wire, by `seconds_on_wire`; None where no chip is known."""


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds of a step, if each part ran at the chip's best."""

    compute: float
    """Matrix products, with what is computed again, split evenly."""
    memory: float
    collectives: float
    step: float
    """The longer of computing and moving bytes, and then the collectives."""
    overlapped: float
    """The longest of the three: nothing waits for anything."""
    mfu: float
    """FLOPs of the model, without what is computed again, by those of the chips in `step`."""

    @property
    def bound(self) -> str:
        """What takes longest."""
        parts = {
            "matrix products": self.compute,
            "memory": self.memory,
            "collectives": self.collectives,
        }
        return max(parts, key=lambda name: parts[name])


@dataclasses.dataclass(frozen=True)
class Advice:
    """A change that makes a step smaller, as settings."""

    what: str
    settings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A training step that was compiled and not run. Sizes are bytes of one device."""

    topology: str
    devices: int
    mesh: Mapping[str, int]
    settings: tuple[str, ...]
    """What was changed of the config."""
    batch_size: int
    micro_batches: int
    remat: Mapping[str, str]
    fits: bool
    needed: int
    limit: int
    memory: Mapping[str, int]
    """By kind; where the step does not fit, of the state and batch alone."""
    host: int
    """Bytes of the host's memory, which `remat=offload` puts activations into."""
    flops: float
    """Of a step over all devices: matrix products and convolutions, two for each product."""
    model_flops: float
    """Without what is computed again."""
    bytes_moved: float | None
    collectives: tuple[Collectives, ...]
    roofline: Roofline | None
    buffers: tuple[tuple[float, str, str], ...]
    """The largest arrays: bytes, shape, operation; if the step does not fit, as traced."""
    advice: tuple[Advice, ...]
    assumed: tuple[str, ...]
    seconds: float
    """Processor time of compiling."""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)


def by_kind(ahead: Ahead) -> dict[str, int]:
    """Bytes of one device: the state's parts, the batch, and what the compiler adds."""
    found = {name: size for name, size in state_bytes(ahead.trainer.state).items() if size}
    found["batch"] = local_bytes(ahead.batch)
    if ahead.memory is not None:
        found["padding of arguments"] = max(ahead.memory.arguments - sum(found.values()), 0)
        found["activations, gradients and other temporary arrays"] = ahead.memory.temporary
        found["results"] = ahead.memory.outputs
        found["program"] = ahead.memory.program
    return found


def gathered(
    sent: list[Sent], mesh: Mapping[str, int], chip: Chip | None, slices: int = 1
) -> list[Collectives]:
    """Collectives by kind and group size, the largest first; `data` runs over the slices."""
    names = axes_by_size({**mesh, "data": mesh["data"] // slices})
    parts: dict[tuple[str, int], list[Sent]] = collections.defaultdict(list)
    for one in sent:
        parts[one.kind, one.group].append(one)
    found = []
    for (kind, group), several in parts.items():
        between = group == SLICES
        ways, size = slices if between else group, sum(one.times * one.bytes for one in several)
        if between:
            # What is handed over is the operand.
            size *= {"all-gather": ways, "reduce-scatter": 1 / ways}.get(kind, 1)
        seconds = None
        if chip is not None:
            seconds = seconds_on_wire(kind, ways, size, chip.network if between else chip.ring)
        count = sum(one.times for one in several)
        found.append(Collectives(kind, names.get(group, "other"), ways, count, size, seconds))
    return sorted(found, key=lambda one: -one.bytes)


def roofline(
    ahead: Ahead, model_flops: float, sent: list[Collectives], topology: Topology
) -> Roofline | None:
    """The estimate; None without a chip or a program."""
    chip = topology.chip
    if chip is None or ahead.program is None:
        return None
    compute = ahead.flops / topology.devices / chip.flops
    memory = ahead.program.bytes_moved() / chip.bandwidth
    wire = sum(one.seconds or 0.0 for one in sent)
    step = max(compute, memory) + wire
    mfu = model_flops / topology.devices / chip.flops / step if step else 0.0
    return Roofline(compute, memory, wire, step, max(compute, memory, wire), mfu)
