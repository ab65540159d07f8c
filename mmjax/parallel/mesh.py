"""The device mesh of a config: `data` x `fsdp` (x `sequence`) x `tensor`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from mmjax.core.errors import ConfigError

T = TypeVar("T")

AXES = ("data", "fsdp", "tensor")
SEQUENCE = "sequence"
BATCH_AXES = ("data", "fsdp")
"""The mesh axes that the rows of a batch are split over."""


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How many devices along each axis; -1 takes what the others leave (one axis at most).

    `data` holds whole copies of the state, `fsdp` splits state and batch, `tensor` splits the
    heads and hidden units of each layer.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    sequence: int = dataclasses.field(default=0, metadata={"unsaid": "by default"})
    """Splits the tokens of every stack of layers, for long video or audio; 0 and 1 split nothing.
    The attention gathers keys and values, all else of a layer works on its part."""
    slices: int = dataclasses.field(default=0, metadata={"unsaid": "by default"})
    """Groups of devices with a slower network between them (slices of TPUs, hosts with GPUs):
    `data` runs over them outermost, the other axes stay within one. 0 asks nothing of them."""
    overrides: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict, hash=False, metadata={"unsaid": "by default"}
    )
    """Parameter pattern -> mesh axes of its dimensions ("fsdp", "data+fsdp", "" for whole), instead
    of the rules; the first pattern that finds the path holds, for its optimiser state as well."""


def axis_names(config: MeshConfig) -> tuple[str, ...]:
    """`AXES`, with `sequence` before the last where tokens are split."""
    return (*AXES[:2], SEQUENCE, AXES[2]) if config.sequence > 1 else AXES


def mesh_shape(config: MeshConfig, devices: int) -> tuple[int, ...]:
    """The sizes of `axis_names` on `devices` devices.

    Raises ConfigError if they do not multiply up, naming the nearest that do.
    """
    names = axis_names(config)
    sizes = [getattr(config, axis) for axis in names]
    where = ", ".join(f"mesh.{axis}={size}" for axis, size in zip(names, sizes, strict=True))
    least = 0 if config.sequence == 0 else 1
    if (
        any(size < 1 and size != -1 for size in sizes)
        or sizes.count(-1) > 1
        or config.sequence < least
        or config.slices < 0
    ):
        raise ConfigError(
            107, "a mesh axis must be positive, one at most -1", where=where, fix="mesh.data=-1"
        )
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and devices % known == 0:
        sizes[sizes.index(-1)] = devices // known
    if math.prod(sizes) != devices:
        near = " | ".join(
            " ".join(f"mesh.{axis}={size}" for axis, size in zip(names, one, strict=True))
            for one in nearest_shapes(sizes, devices)
        )
        whole = " ".join(f"mesh.{axis}={devices if axis == 'data' else 1}" for axis in names)
        raise ConfigError(
            107,
            f"the mesh wants a multiple of {known} devices, there are {devices}",
            where=where,
            fix=f"the nearest that work: {near}; {whole} uses them all",
        )
    if config.slices > 1 and sizes[0] % config.slices:
        raise ConfigError(
            107,
            f"mesh.data={sizes[0]} does not run over mesh.slices={config.slices}",
            where=where,
            fix=f"a multiple of {config.slices} for mesh.data, or mesh.slices=0",
        )
    return tuple(sizes)


def nearest_shapes(sizes: Sequence[int], devices: int, *, most: int = 3) -> list[tuple[int, ...]]:
    """Shapes that multiply up to `devices`, by how many doublings each is from `sizes`.

    A size of -1 may be anything.
    """
    divisors = [one for one in range(1, devices + 1) if devices % one == 0]
    shapes = [
        one for one in itertools.product(divisors, repeat=len(sizes)) if math.prod(one) == devices
    ]

    def far(one: tuple[int, ...]) -> float:
        pairs = zip(one, sizes, strict=True)
        return sum(abs(math.log2(a / b)) for a, b in pairs if b > 0)

    return sorted(shapes, key=lambda one: (far(one), one[::-1]))[:most]


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices` (all of them if None), in automatic sharding mode."""
    devices = jax.devices() if devices is None else devices
    if config.slices > 1:
        return arranged(config, devices)
    return placed(mesh_shape(config, len(devices)), axis_names(config), devices)


def arranged(config: MeshConfig, devices: Sequence[Any]) -> Mesh:
    """A mesh whose axis `data` runs over groups of devices outermost, in each of which lies a mesh
    of the rest.

    The groups are slices of TPUs, else processes, else neighbours. Raises ConfigError where they
    are not `slices` of one size.
    """
    names, shape = axis_names(config), mesh_shape(config, len(devices))
    count = max(config.slices, 1)
    keys = [getattr(one, "slice_index", None) for one in devices]
    if len({*keys}) < 2:
        keys = [one.process_index for one in devices]
    if len({*keys}) < 2:
        keys = [index * count // len(devices) for index in range(len(devices))]
    groups: dict[Any, list[Any]] = {}
    for key, one in zip(keys, devices, strict=True):
        groups.setdefault(key, []).append(one)
    if config.slices > 1 and len(groups) % count == 0:
        # Several processes of one slice, or hosts of one group, are taken together.
        ordered = [groups[key] for key in sorted(groups)]
        each = len(ordered) // count
        parts = [
            list(itertools.chain(*ordered[i : i + each])) for i in range(0, len(ordered), each)
        ]
    else:
        parts = [groups[key] for key in sorted(groups)]
    if len({len(part) for part in parts}) > 1 or shape[0] % len(parts):
        raise ConfigError(
            107,
            f"{len(devices)} devices lie in groups of {[len(part) for part in parts]}",
            where=f"mesh.slices={config.slices}, mesh.data={shape[0]}",
            fix="groups of one size, and mesh.data a multiple of their number",
        )
    inner = (shape[0] // len(parts), *shape[1:])
    blocks = [placed(inner, names, part).devices for part in parts]
    return Mesh(np.concatenate(blocks), names, axis_types=(AxisType.Auto,) * len(names))


def placed(shape: tuple[int, ...], names: tuple[str, ...], devices: Sequence[Any]) -> Mesh:
    """The mesh over devices in an order that suits their network.

    On TPUs an axis takes a part of a dimension of the torus where it fits none, as `fsdp=2` on
    4 x 4 x 4 chips, which `jax.make_mesh` refuses (jax 0.10.2) but for v5e.
    """
    types = (AxisType.Auto,) * len(names)
    if devices[0].platform != "tpu":
        return jax.make_mesh(shape, names, axis_types=types, devices=devices)
    found = mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(found, names, axis_types=types)


def traced_on(mesh: Mesh, function: Callable[..., T]) -> Callable[..., T]:
    """`function`, to be compiled for `mesh`: kernels that it calls split themselves over it.

    XLA cannot split a Pallas kernel; without this a TPU of several chips refuses it, and a GPU
    gathers its operands.
    """

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> T:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args, **kwargs)

    return traced


def check_batch_size(name: str, batch_size: int, mesh: Mesh, *, times: int = 1) -> None:
    """Raises ConfigError unless rows split evenly over the mesh (`times` micro-batches each)."""
    unit = math.prod(mesh.shape[axis] for axis in BATCH_AXES) * times
    if batch_size % unit:
        below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
        valid = f"{below} or {above}" if below else f"{above}"
        split = " x ".join(f"mesh.{axis}={mesh.shape[axis]}" for axis in BATCH_AXES)
        accumulated = f" x {times} micro-batches" if times > 1 else ""
        raise ConfigError(
            108,
            f"{name}={batch_size} does not split over {split}{accumulated}",
            fix=f"the nearest valid: {valid}",
        )
