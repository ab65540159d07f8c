"""What the backends of attention are given, and what they say of themselves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from mmjax.core.typing import Array, Bool, Dtype, Float

MASKED = -1e30
"""Finite, so that a query without a valid key stays free of NaN until it is zeroed."""

Platform = Literal["cpu", "cuda", "rocm", "tpu"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Operands:
    """The arrays: keys, values and masks in segments, of which there is at least one.

    `queries` are not yet scaled. A mask of None is valid throughout.
    """

    queries: Float[Array, "b n k h"]
    keys: tuple[Float[Array, "b _ k h"], ...]
    values: tuple[Float[Array, "b _ k h"], ...]
    masks: tuple[Bool[Array, "#b #k #n _"] | None, ...]
    bias: Float[Array, "#b #k #n m"] | None
    dropout_key: Array | None


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is known when the program is traced; a backend is chosen by it."""

    rows: int
    heads: int
    queries: int
    keys: tuple[int, ...]
    """Of each segment."""
    head_dim: int
    dtype: Dtype
    mask: Literal["none", "keys", "full"]
    """"keys" is one for all queries and heads of a row."""
    bias: bool
    scale: float
    dropout_rate: float
    """0 where there is no key for it."""
    weights: bool
    """Whether they are returned."""

    @property
    def logits_bytes(self) -> int:
        """In float32."""
        return 4 * self.rows * self.heads * self.queries * sum(self.keys)


def problem_of(operands: Operands, *, scale: float, dropout_rate: float, weights: bool) -> Problem:
    b, n, k, h = operands.queries.shape
    masks = [one for one in operands.masks if one is not None]
    whole = any(math.prod(one.shape[1:3]) > 1 for one in masks)
    return Problem(
        rows=b,
        heads=k,
        queries=n,
        keys=tuple(key.shape[1] for key in operands.keys),
        head_dim=h,
        dtype=np.dtype(operands.queries.dtype),
        mask="full" if whole else "keys" if masks else "none",
        bias=operands.bias is not None,
        scale=scale,
        dropout_rate=0.0 if operands.dropout_key is None else dropout_rate,
        weights=weights,
    )


@dataclasses.dataclass(frozen=True)
class Backend:
    """`compute` returns the output and, where the problem asks for them, the weights.

    It is called only where `serves`. A query without a valid key must get exactly 0 and give no
    gradient, and what masked keys and values hold must change nothing.
    """

    compute: Callable[
        [Operands, Problem],
        tuple[Float[Array, "b n k h"], Float[Array, "b k n m"] | None],
    ]
    serves: Callable[[Problem], bool]


def anything(problem: Problem) -> bool:
    return True
