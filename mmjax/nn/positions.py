"""Where a token is: sinusoidal and Fourier features, and learned grids at another size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, ArrayLike, Float, Int

Layout = Literal["interleaved", "halves"]
"""`sin cos sin cos ...` as in Vaswani et al., or all sines and then all cosines."""
Method = Literal["bicubic", "linear"]


def sinusoids(
    positions: Float[ArrayLike, "*b"] | Int[ArrayLike, "*b"],
    width: int,
    *,
    longest: float = 10000.0,
    layout: Layout = "interleaved",
) -> Float[Array, "*b d"]:
    """Sine and cosine of positions (Vaswani et al. 2017, section 3.5), which need not be whole.

    Frequency i is `longest ** (-2 i / width)` radians a unit. Float32. Raises ConfigError if
    `width` is odd.
    """
    if width % 2:
        raise ConfigError(109, f"sinusoids of the odd width {width}", fix=f"width={width + 1}")
    frequencies = longest ** (-2 * np.arange(width // 2) / width)
    angles = jnp.asarray(positions, jnp.float32)[..., None] * frequencies.astype(np.float32)
    if layout == "halves":
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*angles.shape[:-1], width)


def sinusoid_table(
    count: int, width: int, *, longest: float = 10000.0, layout: Layout = "interleaved"
) -> np.ndarray:
    """`sinusoids` of the positions 0 .. count - 1, computed in float64: float32 [count width].

    Angles of hundreds of radians keep their last digits so. Raises ConfigError if `width` is odd.
    """
    if width % 2:
        raise ConfigError(109, f"sinusoids of the odd width {width}", fix=f"width={width + 1}")
    angles = np.outer(np.arange(count), longest ** (-2 * np.arange(width // 2) / width))
    both = np.stack([np.sin(angles), np.cos(angles)], axis=2 if layout == "interleaved" else 1)
    return both.reshape(count, width).astype(np.float32)


def sincos_grid(grid: Sequence[int], width: int, *, extra_tokens: int = 0) -> Float[Array, "1 n d"]:
    """Fixed sine-cosine positions of the cells of a grid, row by row.

    Every axis has an equal part of `width`, the last (fastest) axis first, each all sines and then
    all cosines: for two axes those of MAE (He et al. 2022, `get_2d_sincos_pos_embed`).
    `extra_tokens` zeros come first. Raises ConfigError unless `width` divides by twice the axes.
    """
    part, rest = divmod(width, len(grid))
    if rest or part % 2:
        unit = 2 * len(grid)
        raise ConfigError(
            109,
            f"width={width} does not divide into sines and cosines of {len(grid)} axes",
            fix=f"the nearest valid: {max(1, round(width / unit)) * unit}",
        )
    cells = np.indices(tuple(grid)).reshape(len(grid), -1)[::-1]
    table = jnp.concatenate([sinusoids(axis, part, layout="halves") for axis in cells], axis=-1)
    return jnp.pad(table, ((extra_tokens, 0), (0, 0)))[None]


def fourier_features(
    points: Float[ArrayLike, "*b c"], frequencies: Float[ArrayLike, "c f"]
) -> Float[Array, "*b d"]:
    """`[cos 2 pi x B, sin 2 pi x B]` (Tancik et al. 2020, equation 5), d = 2 f, float32.

    `frequencies` B is in cycles per unit of `points`.
    """
    turns = jnp.einsum(
        "...c,cf->...f",
        jnp.asarray(points, jnp.float32),
        jnp.asarray(frequencies, jnp.float32),
        precision=jax.lax.Precision.HIGHEST,
    )
    return jnp.concatenate([jnp.cos(2 * math.pi * turns), jnp.sin(2 * math.pi * turns)], axis=-1)


def resize_positions(
    table: Float[Array, "1 n d"],
    old: tuple[int, ...],
    new: tuple[int, ...],
    *,
    method: Method = "bicubic",
    extra_tokens: int = 0,
    antialias: bool = False,
) -> Float[Array, "1 m d"]:
    """Learned positions of a grid of `old` cells, interpolated to a grid of `new` cells.

    The first `extra_tokens` (class, distillation or register tokens) stay as they are. Grids have
    one axis or more, the last fastest. Agrees with torch's `interpolate(size=new,
    align_corners=False)`, cubic with a = -0.75; with `antialias=True` torch has a = -0.5, as
    `jax.image.resize` always has. Computed in float32, returned in the table's type. Raises
    ConfigError if the table has another length than the old grid.
    """
    count = math.prod(old) + extra_tokens
    if table.shape[1] != count or len(old) != len(new):
        raise ConfigError(
            109,
            f"{table.shape[1]} positions for a grid of {old} and {extra_tokens} more, to {new}",
            fix=f"expected {count} positions, and grids with as many axes as each other",
        )
    if tuple(old) == tuple(new):
        return table
    cells = table[:, extra_tokens:].astype(jnp.float32).reshape(*old, table.shape[-1])
    if antialias:
        kind = "cubic" if method == "bicubic" else "linear"
        cells = jax.image.resize(cells, (*new, table.shape[-1]), kind, antialias=True)
        old = new
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        if before != after:
            weights = interpolation_weights(before, after, method)
            cells = jnp.moveaxis(
                jnp.tensordot(weights, cells, (1, axis), precision=jax.lax.Precision.HIGHEST),
                0,
                axis,
            )
    cells = cells.reshape(1, -1, table.shape[-1]).astype(table.dtype)
    return jnp.concatenate([table[:, :extra_tokens], cells], axis=1)


def positions_of_shapes(
    table: Float[Array, "r c d"], shapes: Int[ArrayLike, "b 2"], count: int
) -> Float[Array, "b n d"]:
    """Learned positions of a grid, interpolated to each example's rows and columns, row by row.

    The first rows x columns of `count` positions are the example's; those behind are as its first.
    `shapes` may be traced. Agrees with torch's `interpolate(mode="bilinear", antialias=True)`, as
    SigLIP 2's NaFlex uses it. Computed in float32, returned in the table's type.
    """
    rows, columns = (jnp.asarray(shapes)[:, axis, None] for axis in range(2))
    place = jnp.arange(count)[None]
    place = jnp.where(place < rows * columns, place, 0)
    down = _smooth_weights(place // columns, rows, table.shape[0])
    across = _smooth_weights(place % columns, columns, table.shape[1])
    found = jnp.einsum(
        "bnr,bnc,rcd->bnd",
        down,
        across,
        table.astype(jnp.float32),
        precision=jax.lax.Precision.HIGHEST,
    )
    return found.astype(table.dtype)


def _smooth_weights(
    place: Int[Array, "b n"], after: Int[Array, "b 1"], before: int
) -> Float[Array, "b n m"]:
    """What each of `before` cells adds to a place among `after`: a triangle about its centre."""
    scale = before / after
    centre = (place + 0.5) * scale
    distance = jnp.abs(jnp.arange(before) + 0.5 - centre[..., None])
    weights = jnp.maximum(1.0 - distance / jnp.maximum(scale, 1.0)[..., None], 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)


def interpolation_weights(before: int, after: int, method: Method) -> np.ndarray:
    """The matrix `[after before]` that interpolates along one axis; rows sum to 1.

    Pixel centres are aligned, and beyond the border the last value goes on.
    """
    source = (np.arange(after) + 0.5) * before / after - 0.5
    if method == "linear":
        source = np.maximum(source, 0.0)
        reach, kernel = range(2), _triangle
    else:
        reach, kernel = range(-1, 3), _cubic
    first = np.floor(source).astype(int)
    weights = np.zeros((after, before))
    for step in reach:
        near = np.clip(first + step, 0, before - 1)
        np.add.at(weights, (np.arange(after), near), kernel(source - (first + step)))
    return weights.astype(np.float32)


def _triangle(distance: np.ndarray) -> np.ndarray:
    return 1.0 - np.abs(distance)


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    """Cubic convolution (Keys 1981)."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, far)
