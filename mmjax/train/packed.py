"""Trees whose small arrays travel as one vector of each dtype."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

SMALL = 4096
"""Elements of the largest array that is packed: to copy it costs less than to pass it."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each array of a tree lies in what it is packed to."""

    tree: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, tree: Any) -> Layout:
        leaves, structure = jax.tree.flatten(tree)
        shapes = tuple(tuple(leaf.shape) for leaf in leaves)
        return cls(structure, shapes, tuple(np.dtype(leaf.dtype).name for leaf in leaves))

    @functools.cached_property
    def vectors(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the small arrays, by dtype."""
        found: dict[str, list[int]] = {}
        for index, (shape, dtype) in enumerate(zip(self.shapes, self.dtypes, strict=True)):
            if math.prod(shape) <= SMALL:
                found.setdefault(dtype, []).append(index)
        return tuple(map(tuple, found.values()))

    @functools.cached_property
    def large(self) -> tuple[int, ...]:
        """The numbers of the others."""
        small = {*itertools.chain(*self.vectors)}
        return tuple(index for index in range(len(self.shapes)) if index not in small)


@struct.dataclass
class Packed:
    """A packed tree."""

    large: list[Any]
    vectors: list[Any]
    layout: Layout = struct.field(pytree_node=False)

    @property
    def tree(self) -> Any:
        """As it was, with arrays of the vectors' own kind; NumPy's are views."""
        leaves: list[Any] = [None] * len(self.layout.shapes)
        for index, leaf in zip(self.layout.large, self.large, strict=True):
            leaves[index] = leaf
        for indices, vector in zip(self.layout.vectors, self.vectors, strict=True):
            start = 0
            for index in indices:
                shape = self.layout.shapes[index]
                end = start + math.prod(shape)
                leaves[index] = vector[start:end].reshape(shape)
                start = end
        return jax.tree.unflatten(self.layout.tree, leaves)


def pack(tree: Any, join: Callable[..., Any] = jnp.concatenate) -> Packed:
    """A tree of arrays, packed; of those on a host with `join=np.concatenate`."""
    layout, leaves = Layout.of(tree), jax.tree.leaves(tree)
    vectors = [join([leaves[index].reshape(-1) for index in of]) for of in layout.vectors]
    return Packed([leaves[index] for index in layout.large], vectors, layout)
