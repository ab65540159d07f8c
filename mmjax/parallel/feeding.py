"""Which rows of a global batch a process has to bring."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.core.errors import ConfigError
from mmjax.parallel.mesh import BATCH_AXES


def batch_part(mesh: Mesh) -> tuple[int, int]:
    """This process's part of every global batch, and how many parts there are.

    Processes whose devices hold the same rows, as where `tensor` runs over several hosts, have one
    part in common, and each brings the whole of it. Raises ConfigError for a mesh on which
    processes share some of their rows only.
    """
    if jax.process_count() == 1:
        return 0, 1
    return part_of(mesh, jax.process_index())


def part_of(mesh: Mesh, process: int) -> tuple[int, int]:
    """`batch_part` of any process."""
    ways = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    held: dict[int, set[int]] = {}
    indices: dict[Any, tuple[slice, ...]] = dict(sharding.devices_indices_map((ways,)))
    for device, (rows,) in indices.items():
        held.setdefault(device.process_index, set()).add(rows.start or 0)
    parts = sorted({tuple(sorted(one)) for one in held.values()})
    if sum(map(len, parts)) != ways or len({len(one) for one in parts}) > 1:
        shape = " ".join(f"mesh.{axis}={size}" for axis, size in mesh.shape.items())
        raise ConfigError(
            108,
            "processes would hold some rows of a batch in common and some not",
            where=f"{shape} on {len(held)} processes",
            fix="a product of the axes other than data and fsdp that divides the devices of a "
            "process, or that they divide",
        )
    return parts.index(tuple(sorted(held[process]))), len(parts)
