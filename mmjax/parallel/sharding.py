"""Logical axis names of parameters and activations, and where they live on the mesh."""

from __future__ import annotations

import math
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.core.types import Batch
from mmjax.parallel.mesh import BATCH_AXES

RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": BATCH_AXES,
    "embed": "fsdp",
    "mlp": "tensor",
    "heads": "tensor",
    "vocab": "tensor",
    # What a fusion projects to stays whole on every device of `tensor`, as the residual stream in
    # Megatron-LM does. Split as well, a cross-attention step that needs 9 collectives (data=2,
    # tensor=4, benchmarks/collectives.py) was compiled with 68 for two thirds of the operations.
    "joined": None,
    "head_dim": None,
    "layers": None,
    "tokens": None,
    "patch": None,
    "spatial": None,
    # Convolutions split one kernel axis only: with both split, XLA's partitioner (jaxlib 0.10.2)
    # returns wrong kernel gradients once rows are split too; tests/parallel holds this.
    "channels_in": None,
    "channels_out": ("fsdp", "tensor"),
    "norm": None,
    "labels": None,
    "features": None,
}
"""Each logical axis, and the mesh axes that it is split over."""


def is_boxed(leaf: Any) -> bool:
    """Whether a leaf carries logical axis names, as Linen's `init` returns it."""
    return isinstance(leaf, nn.meta.AxisMetadata)


def unbox(variables: Any) -> Any:
    """The plain arrays (or shapes) of variables that carry logical axis names."""
    return jax.tree.map(
        lambda leaf: leaf.unbox(apply_constraint=False) if is_boxed(leaf) else leaf,
        variables,
        is_leaf=is_boxed,
    )


def partition_spec(names: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh):
    """The PartitionSpec of one array. An axis that does not divide is left whole."""
    taken: set[str] = set()
    spec: list[Any] = []
    for name, size in zip(names, shape, strict=True):
        axes = RULES[name] if name is not None else None
        axes = (axes,) if isinstance(axes, str) else (axes or ())
        free = tuple(axis for axis in axes if axis not in taken and mesh.shape[axis] > 1)
        ways = math.prod(mesh.shape[axis] for axis in free)
        if not free or size % ways:
            spec.append(None)
            continue
        taken.update(free)
        spec.append(free if len(free) > 1 else free[0])
    return PartitionSpec(*spec)


def variable_shardings(abstract: Any, mesh: Mesh) -> Any:
    """A tree of NamedSharding for what `jax.eval_shape(module.init, ...)` returned, still boxed."""

    def one(leaf: Any) -> NamedSharding:
        if not is_boxed(leaf):
            return replicated(mesh)
        shape = leaf.unbox(apply_constraint=False).shape
        return NamedSharding(mesh, partition_spec(leaf.names, shape, mesh))

    return jax.tree.map(one, abstract, is_leaf=is_boxed)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows split over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: Batch, mesh: Mesh) -> Batch:
    """The global batch on the devices, from the rows that each process holds."""
    sharding = batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(
        lambda array: jax.make_array_from_process_local_data(sharding, array), batch
    )
