"""Meshes of TPUs that are not there, to compile for them ahead of time."""

from __future__ import annotations

import os

from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from mmjax.core.extras import require
from mmjax.parallel.mesh import AXES, MeshConfig, mesh_shape

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


def topology_mesh(topology: str, config: MeshConfig) -> Mesh:
    """The mesh over the devices of a TPU `topology`, such as "v5e:2x4" or "v5p:2x2x1".

    Lower for it with `.trace(...).lower(lowering_platforms=("tpu",))`, from arguments whose
    shardings are on this mesh; nothing can run. The process must not use a TPU itself. Raises
    MissingExtra without libtpu, ConfigError where the mesh does not multiply up.
    """
    require("libtpu", "tpu-aot")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    options = {"chips_per_host_bounds": (1, 1, 1)} if topology.endswith(":1x1") else {}
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    shape = mesh_shape(config, len(found.devices))
    mesh = topologies.make_mesh(found, shape, AXES)
    return Mesh(mesh.devices, AXES, axis_types=(AxisType.Auto,) * len(AXES))
