"""The device mesh of a config: `data` x `fsdp` x `tensor`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, Mesh

from mmjax.core.errors import ConfigError

T = TypeVar("T")

AXES = ("data", "fsdp", "tensor")
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


def mesh_shape(config: MeshConfig, devices: int) -> tuple[int, int, int]:
    """The sizes of `AXES` on `devices` devices; raises ConfigError if they do not multiply up."""
    sizes = [config.data, config.fsdp, config.tensor]
    where = ", ".join(f"mesh.{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    if any(size < 1 and size != -1 for size in sizes) or sizes.count(-1) > 1:
        raise ConfigError(
            107, "a mesh axis must be positive, one at most -1", where=where, fix="mesh.data=-1"
        )
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and devices % known == 0:
        sizes[sizes.index(-1)] = devices // known
    if math.prod(sizes) != devices:
        raise ConfigError(
            107,
            f"the mesh wants a multiple of {known} devices, there are {devices}",
            where=where,
            fix=f"mesh.data={devices} mesh.fsdp=1 mesh.tensor=1 uses them all",
        )
    return sizes[0], sizes[1], sizes[2]


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices` (all of them if None), in automatic sharding mode."""
    devices = jax.devices() if devices is None else devices
    shape = mesh_shape(config, len(devices))
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


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
