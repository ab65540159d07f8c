"""Logical axis names of parameters and activations, and where they live on the mesh."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Batch
from mmjax.parallel.feeding import batch_part
from mmjax.parallel.mesh import BATCH_AXES, SEQUENCE

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


def path_of(path: tuple) -> str:
    """A tree path as "/encoders_text/words/embedding"."""
    names = (getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))) for key in path)
    return "/" + "/".join(map(str, names))


_ROOT = re.compile(r"^/(params|ema|opt_state/.*?/(mu|nu|trace))(?=/)")
"""What stands before a parameter's own path in a training state."""


def own_path(path: str) -> str:
    """Of a leaf of a training state, the path of the parameter that it is or belongs to."""
    return _ROOT.sub("", path)


def variable_shardings(
    abstract: Any, mesh: Mesh, overrides: Mapping[str, tuple[str, ...]] | None = None
) -> Any:
    """A tree of NamedSharding for what `jax.eval_shape(module.init, ...)` returned, still boxed.

    `overrides` are those of `MeshConfig`.
    """

    def one(path: tuple, leaf: Any) -> NamedSharding:
        name = path_of(path)
        # What the optimiser keeps may have other shapes than its parameter.
        strict = not name.startswith("/opt_state")
        found = overridden(own_path(name), _shape(leaf), mesh, overrides or {}, strict=strict)
        if found is not None:
            return NamedSharding(mesh, found)
        if not is_boxed(leaf):
            return replicated(mesh)
        return NamedSharding(mesh, partition_spec(leaf.names, _shape(leaf), mesh))

    return jax.tree_util.tree_map_with_path(one, abstract, is_leaf=is_boxed)


def _shape(leaf: Any) -> tuple[int, ...]:
    return (leaf.unbox(apply_constraint=False) if is_boxed(leaf) else leaf).shape


def overridden(
    path: str,
    shape: tuple[int, ...],
    mesh: Mesh,
    overrides: Mapping[str, tuple[str, ...]],
    *,
    strict: bool = True,
) -> PartitionSpec | None:
    """What the first pattern that finds the path says; None if none does, or of a scalar.

    If not `strict`, None as well where that does not fit the shape.

    Raises ConfigError for an unknown mesh axis, one that is named twice, and axes that do not fit
    the shape.
    """
    told = next((axes for pattern, axes in overrides.items() if re.search(pattern, path)), None)
    if told is None or not shape:
        return None
    spec = [tuple(part for part in axes.split("+") if part) for axes in told]
    names = [name for part in spec for name in part]
    where = f"mesh.overrides, of {path} {list(shape)}"
    for name in names:
        if name not in mesh.shape:
            raise ConfigError(
                107, f"no mesh axis '{name}'", where=where, fix=nearest(name, mesh.shape)
            )
    ways = [math.prod(mesh.shape[name] for name in part) for part in spec]
    fits = len(spec) <= len(shape) and not any(map(int.__mod__, shape, ways))
    if not (strict or fits):
        return None
    if len(spec) > len(shape) or len({*names}) < len(names):
        raise ConfigError(
            107,
            f"{list(told)} does not fit {len(shape)} dimensions, or names an axis twice",
            where=where,
            fix="one entry a dimension, each axis once",
        )
    for part, size, parts in zip(spec, shape, ways, strict=False):
        if size % parts:
            raise ConfigError(
                107,
                f"{size} does not split {parts} ways over {'+'.join(part)}",
                where=where,
                fix="leave this dimension whole with an empty entry",
            )
    return PartitionSpec(*(part if len(part) > 1 else part[0] if part else None for part in spec))


def spread(values: Any) -> Any:
    """Arrays [b n d] of a tree, between layers, with rows over the mesh's rows, tokens over its
    axis `sequence` if it has one, and whole channels.

    Without being told, XLA takes the layout of the weights: with `fsdp` it computed all rows on
    every device, a part of the channels each, and sent the activations (benchmarks/sharding.py).
    As they are without a mesh in the context, and where rows do not divide.
    """
    mesh = _laid_out()
    if mesh is None or not set(BATCH_AXES) <= set(mesh.axis_names):
        return values
    ways = mesh.shape.get(SEQUENCE, 1)
    rows = math.prod(mesh.shape[axis] for axis in BATCH_AXES)

    def one(leaf: Any) -> Any:
        if getattr(leaf, "ndim", 0) != 3 or leaf.shape[0] % rows:
            return leaf
        tokens = SEQUENCE if 1 < ways <= leaf.shape[1] else None
        return jax.lax.with_sharding_constraint(leaf, PartitionSpec(BATCH_AXES, tokens, None))

    return jax.tree.map(one, values)


def everywhere(values: Any) -> Any:
    """Arrays of a tree, whole on every device of the mesh in the context.

    To be said before a loop whose turns all need all of them: XLA gathers them again in each (64
    times the 65,536 vectors of a queue in a step of ALBEF on 256 chips, 2.7 of the 4.5 GB that each
    sent; benchmarks/scaling.py).
    """
    if _laid_out() is None:
        return values
    return jax.lax.with_sharding_constraint(values, PartitionSpec())


def _laid_out() -> AbstractMesh | None:
    """The mesh in the context, where XLA lays arrays out over several devices of it."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or {*mesh.axis_types} != {AxisType.Auto}:
        return None
    return mesh


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows split over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def several_batches(mesh: Mesh) -> NamedSharding:
    """Of batches that are stacked along the first axis."""
    return NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())


def put_batch(batch: Batch, mesh: Mesh, *, axis: int = 0) -> Batch:
    """The global batch on the devices, from the rows that each process holds.

    With `axis=1` it is several, stacked.
    """
    sharding = several_batches(mesh) if axis else batch_sharding(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    _, parts = batch_part(mesh)

    def put(array: Any) -> jax.Array:
        # Its shape is not to be guessed: where processes hold the same rows, the guess is wrong.
        shape = (*array.shape[:axis], parts * array.shape[axis], *array.shape[axis + 1 :])
        return jax.make_array_from_process_local_data(sharding, array, shape)

    return jax.tree.map(put, batch)
