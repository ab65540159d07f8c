"""Meshes of devices that are not there, to compile for them ahead of time."""

from __future__ import annotations

import dataclasses
import math
import os
import re

import jax
from jax.experimental import topologies
from jax.sharding import AbstractMesh, AxisType, Mesh

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.extras import require
from mmjax.parallel.chips import CHIPS, Chip
from mmjax.parallel.mesh import MeshConfig, arranged, axis_names, make_mesh, mesh_shape, placed

# What libtpu would otherwise ask a machine with TPUs for, or another process for the chip.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}

FAST = {"exec_time_optimization_effort": -1.0}
"""`compiler_options` for less compiling: a tenth of the time at 200 M parameters."""

SHAPES = {
    "v4": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8"),
    "v5e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
    "v5p": ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16"),
    "v6e": ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"),
}
"""What can be rented as one slice, by the kind of chip."""

_NAME = re.compile(r"(?P<kind>[a-z0-9]+):(?P<shape>\d+(x\d+)*)(\*(?P<slices>\d+))?")


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices by name: "v5e:4x4", two such slices as "v5e:4x4*2", or "cpu:8"."""

    name: str
    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    @classmethod
    def parse(cls, name: str) -> Topology:
        """Raises ConfigError for an unknown one, with the nearest."""
        known = [f"{kind}:{shape}" for kind, shapes in SHAPES.items() for shape in shapes]
        found = _NAME.fullmatch(name.strip().lower())
        sizes = tuple(map(int, found["shape"].split("x"))) if found else ()
        good = found is not None and (
            (found["kind"] == "cpu" and len(sizes) == 1 and sizes[0] > 0 and not found["slices"])
            or found["shape"] in SHAPES.get(found["kind"], ())
        )
        if found is None or not good or found["slices"] == "0":
            raise ConfigError(
                117,
                f"no topology '{name}'",
                where="--topology",
                fix=nearest(name, [*known, "cpu:8"], most=8),
            )
        return cls(name, found["kind"], sizes, int(found["slices"] or 1))

    @property
    def devices(self) -> int:
        return math.prod(self.shape) * self.slices

    @property
    def chip(self) -> Chip | None:
        """What its devices can do at most; not known of a CPU."""
        return CHIPS.get(self.kind)

    @property
    def platform(self) -> str:
        return "cpu" if self.kind == "cpu" else "tpu"

    def mesh(self, config: MeshConfig) -> Mesh:
        """The mesh over its devices.

        Raises MissingExtra for TPUs without libtpu, ConfigError where the mesh does not multiply
        up, or where this process has fewer CPU devices.
        """
        mesh_shape(config, self.devices)
        return _cpu_mesh(self.devices, config) if self.kind == "cpu" else self._tpu_mesh(config)

    def shape_alone(self, config: MeshConfig) -> AbstractMesh:
        """The mesh without devices: to know where arrays would live, not to compile for."""
        names = axis_names(config)
        sizes = mesh_shape(config, self.devices)
        return AbstractMesh(sizes, names, axis_types=(AxisType.Auto,) * len(names))

    def _tpu_mesh(self, config: MeshConfig) -> Mesh:
        require("libtpu", "tpu-aot")
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        shape = "x".join(map(str, self.shape))
        options: dict = {"chips_per_host_bounds": (1, 1, 1)} if shape == "1x1" else {}
        if self.slices > 1:
            options["num_slices"] = self.slices
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{self.kind}:{shape}", **options
        )
        devices = list(found.devices)
        if self.slices > 1 or config.slices:
            return arranged(config, devices)
        return placed(mesh_shape(config, len(devices)), axis_names(config), devices)


def topology_mesh(topology: str, config: MeshConfig) -> Mesh:
    """The mesh over the devices of a `Topology`.

    Lower for it with `.trace(...).lower(lowering_platforms=("tpu",))`, from arguments whose
    shardings are on this mesh; nothing can run. The process must not use a TPU itself.
    """
    return Topology.parse(topology).mesh(config)


def _cpu_mesh(count: int, config: MeshConfig) -> Mesh:
    devices = jax.local_devices(backend="cpu")
    if len(devices) < count:
        raise ConfigError(
            118,
            f"this process has {len(devices)} CPU devices, not {count}",
            where=f"--topology cpu:{count}",
            fix=f"XLA_FLAGS=--xla_force_host_platform_device_count={count} before it starts",
        )
    return make_mesh(config, devices[:count])
