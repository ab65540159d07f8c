"""A learned bias of attention for each distance between two cells of a grid."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.typing import Array, Dtype, Float
from mmjax.nn.dense import parameter
from mmjax.nn.positions import resize_positions

_SPECIAL = 3


class GridBias(nn.Module, kw_only=True):
    """One value a head for each distance in rows and columns (Liu et al. 2021, equation 4).

    The bias is for a grid of `grid` cells, row by row, and the table is learned for one of
    `window`: a smaller grid takes the distances that occur in it. With `class_token`, a first token
    before the grid has three values of its own, as query, as key and for itself, and the table is
    interpolated linearly to another grid, as in BEiT (Bao et al. 2022).
    """

    heads: int
    window: tuple[int, int]
    grid: tuple[int, int] | None = None
    class_token: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self) -> Float[Array, "1 k n n"]:
        old, grid = _distances(self.window), self.grid or self.window
        table = parameter(
            self,
            "table",
            (old[0] * old[1] + _SPECIAL * self.class_token, self.heads),
            ("tokens", "heads"),
            init=nn.initializers.normal(0.02),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        if self.class_token:
            # transformers takes the old table for one of columns and rows; squares do not care.
            cells = resize_positions(
                table[None, :-_SPECIAL], old[::-1], _distances(grid), method="linear"
            )
            table = jnp.concatenate([cells[0], table[-_SPECIAL:]])
            index = distance_index(grid, grid, class_token=True)
        else:
            index = distance_index(grid, self.window)
        return jnp.moveaxis(table[index], -1, 0)[None]


def distance_index(
    grid: tuple[int, int], window: tuple[int, int], *, class_token: bool = False
) -> np.ndarray:
    """Which entry of a table for `window` the bias of each pair [query key] of `grid` is."""
    cells = np.indices(grid).reshape(2, -1)
    rows, columns = cells[:, :, None] - cells[:, None, :]
    far = _distances(window)
    pairs = (rows + window[0] - 1) * far[1] + columns + window[1] - 1
    if not class_token:
        return pairs
    count = far[0] * far[1]
    index = np.pad(pairs, ((1, 0), (1, 0)))
    index[0, :], index[:, 0], index[0, 0] = count, count + 1, count + 2
    return index


def _distances(grid: tuple[int, int]) -> tuple[int, int]:
    """How many different distances there are along each axis."""
    return 2 * grid[0] - 1, 2 * grid[1] - 1
