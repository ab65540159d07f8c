"""Where each array of a state lives on a mesh, and why: as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from mmjax.parallel.sharding import RULES, is_boxed, overridden, own_path, path_of

OPTIMISER = "optimiser"


@dataclasses.dataclass(frozen=True)
class Place:
    """One array on a mesh."""

    kind: str
    """The part of the state: "parameters", "optimiser", ..."""
    path: str
    shape: tuple[int, ...]
    dtype: str
    names: tuple[str | None, ...]
    """Logical axes."""
    axes: tuple[tuple[str, ...], ...]
    """Mesh axes of each dimension."""
    bytes: int
    """On one device."""
    whole: int
    """Bytes of the whole array."""
    why: str
    """Of what is not split: why."""

    @property
    def copies(self) -> bool:
        """Whether each device has all of it."""
        return not any(self.axes)

    @property
    def layout(self) -> str:
        """The mesh axes that split it, such as "fsdp x tensor"; "whole" if none does."""
        return " x ".join(name for one in self.axes for name in one) or "whole"


def places(
    kind: str,
    boxed: Any,
    shardings: Any,
    overrides: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[Place]:
    """The arrays of a tree of shapes, which may carry logical names, and of its shardings."""
    leaves = jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_boxed)
    for (path, leaf), sharding in zip(leaves, jax.tree.leaves(shardings), strict=True):
        plain = leaf.unbox(apply_constraint=False) if is_boxed(leaf) else leaf
        shape = tuple(plain.shape)
        names = tuple(leaf.names) if is_boxed(leaf) else (None,) * len(shape)
        spec = [*sharding.spec, *[None] * (len(shape) - len(sharding.spec))]
        axes = tuple((one,) if isinstance(one, str) else tuple(one or ()) for one in spec)
        width = plain.dtype.itemsize
        name = path_of(path)
        root = "/opt_state" if kind == OPTIMISER else "/params"
        own = own_path(f"{root}{name}")
        told = overridden(own, shape, sharding.mesh, overrides or {}, strict=False)
        yield Place(
            kind=kind,
            path=name,
            shape=shape,
            dtype=str(plain.dtype),
            names=names,
            axes=axes,
            bytes=math.prod(sharding.shard_shape(shape)) * width,
            whole=math.prod(shape) * width,
            why="mesh.overrides"
            if told is not None
            else why_whole(names, shape, sharding.mesh)
            if not any(axes)
            else "",
        )


def why_whole(names: tuple[str | None, ...], shape: tuple[int, ...], mesh: Any) -> str:
    """Why the rules leave an array whole."""
    if not shape:
        return "a number"
    if not any(names):
        return "no logical axes"
    reasons = []
    for name, size in zip(names, shape, strict=True):
        axes = RULES[name] if name is not None else None
        axes = (axes,) if isinstance(axes, str) else (axes or ())
        split = [axis for axis in axes if mesh.shape[axis] > 1]
        if split:
            ways = " x ".join(f"{axis}={mesh.shape[axis]}" for axis in split)
            reasons.append(f"{name} {size} does not split over {ways}")
        elif axes:
            reasons.append(
                f"{' and '.join(axes)} of the mesh " + ("are" if axes[1:] else "is") + " 1"
            )
    return ", ".join(dict.fromkeys(reasons)) or f"{', '.join(filter(None, names))} stay whole"
