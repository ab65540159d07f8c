"""Kernels under automatic sharding, which XLA cannot split by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import jax
from jax.sharding import AxisType, PartitionSpec

from mmjax.core.typing import Array

ROWS = ("data", "fsdp")
HEADS = ("tensor",)
"""The mesh axes that rows and heads are split over."""


def split_kernel(
    function: Callable[..., tuple[Array, ...]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    arrays: Sequence[Array],
    over: Mapping[str, tuple[str, ...]],
) -> tuple[Array, ...]:
    """`function(*arrays)`, each device of the mesh working on its part of the axes in `over`.

    `inputs` and `outputs` name the axes of every array, such as "b k n h"; `over` has the mesh axes
    that an array axis is split over, where the first array's size divides. All else is whole on
    each device. The mesh is that of the context (`jax.set_mesh`, `parallel.mesh.traced_on`): no
    context, no split.
    """
    mesh = jax.sharding.get_abstract_mesh()
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    automatic = {axis for axis, kind in types if kind == AxisType.Auto}
    if math.prod(mesh.shape[axis] for axis in automatic) == 1:
        return function(*arrays)
    axes_in, axes_out = ([tuple(names.split()) for names in one] for one in (inputs, outputs))
    sizes = dict(zip(axes_in[0], arrays[0].shape, strict=True))
    split = {}
    for name, axes in over.items():
        axes = tuple(axis for axis in axes if axis in automatic)
        if sizes[name] % math.prod(mesh.shape[axis] for axis in axes) == 0:
            split[name] = axes

    def specs(arrays: Sequence[tuple[str, ...]]) -> tuple[PartitionSpec, ...]:
        return tuple(PartitionSpec(*(split.get(name) for name in names)) for names in arrays)

    local = jax.shard_map(
        function,
        in_specs=specs(axes_in),
        out_specs=specs(axes_out),
        axis_names=automatic,
        check_vma=False,
    )
    return local(*arrays)
