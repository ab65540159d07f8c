"""A decoder of sets: learned queries that look at a picture and become boxes."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Bool, Float
from mmjax.nn.dense import dense, fan_in, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.positions import sincos_grid, sinusoids
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import Block, BlockSettings

Anchors = Literal["grid", "tokens", "none"]


class Decoded(NamedTuple):
    """What the queries became, one entry a layer, the last layer last."""

    values: Float[Array, "layers b q d"]
    boxes: Float[Array, "layers b q 4"]
    """cx, cy, w, h in [0, 1], float32."""


class ObjectQueries(BlockSettings, kw_only=True):
    """`queries` learned vectors, that attend to each other and to the tokens of a picture (the
    decoder of DETR, Carion et al. 2020, section 3.2, normalising first), and an MLP of three layers
    that makes a box of each.

    Tokens get the sines and cosines of their place. With `anchors="grid"` each query has a learned
    box of its own, at first one of a regular grid, whose middle it has the sines and cosines of,
    and what the MLP says is added to that box before the sigmoid, as in Deformable DETR (Zhu et al.
    2021) and DAB-DETR (Liu et al. 2022): learning takes a fraction of the time. With "tokens" the
    queries are the tokens that have a place, as many as there are, and their boxes at first the
    cells of the grid (OWL-ViT, Minderer et al. 2022, section 3.1). With "none", as in DETR, queries
    have vectors alone.
    """

    queries: int
    depth: int
    anchors: Anchors = "grid"
    each_layer: bool = False
    """Whether every layer gives boxes; the last one alone if not."""

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
        grid: tuple[int, int],
        *,
        train: bool,
    ) -> Decoded:
        """`grid` are the rows and columns of the last tokens; those before have no place."""
        _, count, width = tokens.shape
        extra = count - grid[0] * grid[1]
        seen = tokens + sincos_grid(grid, width, extra_tokens=extra).astype(tokens.dtype)
        seen = layer_norm(name="token_norm", eps=self.eps, **self.types())(seen)
        values, start = self._queries(seen[:, extra:], grid)
        settings = {name: getattr(self, name) for name in BlockSettings.__dataclass_fields__}
        settings = {k: v for k, v in settings.items() if k not in ("parent", "name")}
        stack = Stack(
            block=Block,
            settings={**settings, "cross_attention": True},
            depth=self.depth,
            name="stack",
        )
        layers = []
        for layer in range(self.depth):
            values = stack(values, None, seen, mask, None, start=layer, stop=layer + 1, train=train)
            layers.append(values)
        chosen = jnp.stack(layers if self.each_layer else layers[-1:])
        chosen = self.make_norm("norm")(chosen)
        return Decoded(chosen, self._boxes(chosen, start))

    def _queries(
        self, tokens: Float[Array, "b p d"], grid: tuple[int, int]
    ) -> tuple[Float[Array, "b q d"], Float[Array, "q 4"] | None]:
        """The first values, and the logits of the first boxes."""
        if self.anchors == "tokens":
            return tokens, _boxes_in_rows(np.full(grid[0], grid[1]))
        batch, _, width = tokens.shape
        learned = self._learned("queries", (self.queries, width), nn.initializers.normal(1.0))
        start = None
        if self.anchors == "grid":
            start = self._learned("anchors", (self.queries, 4), _grid_of_boxes)
            start = start.astype(jnp.float32)
            learned = learned + places(nn.sigmoid(start[:, :2]), grid, width).astype(learned.dtype)
        return jnp.broadcast_to(learned, (batch, *learned.shape)), start

    def _boxes(
        self, values: Float[Array, "layers b q d"], start: Float[Array, "q 4"] | None
    ) -> Float[Array, "layers b q 4"]:
        width = values.shape[-1]
        for layer in range(2):
            axes = ("embed", "mlp") if layer == 0 else ("mlp", "embed")
            values = nn.relu(dense(width, axes, name=f"box_{layer}", **self.types())(values))
        init = fan_in if start is None else nn.initializers.zeros
        moved = dense(4, ("embed", None), name="box_2", init=init, **self.types())(values)
        moved = moved.astype(jnp.float32)
        return nn.sigmoid(moved if start is None else moved + start)

    def _learned(self, name: str, shape: tuple[int, int], init) -> Array:
        return parameter(self, name, shape, ("tokens", None), init=init, **self.types())


def grid_of(count: int, given: tuple[int, ...], where: str) -> tuple[int, int]:
    """Rows and columns of a picture's tokens: those given, or the largest square.

    Tokens that are too many stand before the others, such as a class token. Raises ConfigError for
    a grid that is none, or has more cells than there are tokens.
    """
    side = math.isqrt(count)
    rows, columns = given if len(given) == 2 else (0, 0) if given else (side, side)
    if min(rows, columns) < 1 or rows * columns > count:
        raise ConfigError(
            109,
            f"grid={given} of {count} tokens",
            where=where,
            fix="rows and columns of the encoder's tokens; () where they are a square",
        )
    return rows, columns


def places(middles: Float[Array, "q 2"], grid: tuple[int, int], width: int) -> Float[Array, "q d"]:
    """The sines and cosines of points (x, y in [0, 1]), as `sincos_grid` has them of its cells."""
    rows, columns = grid
    x, y = middles[:, 0] * columns - 0.5, middles[:, 1] * rows - 0.5
    parts = [sinusoids(axis, width // 2, layout="halves") for axis in (x, y)]
    return jnp.concatenate(parts, axis=-1)


def _grid_of_boxes(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """The logits of boxes whose middles are spread evenly over the picture."""
    rows = math.isqrt(shape[0])
    in_row = np.full(rows, shape[0] // rows) + (np.arange(rows) < shape[0] % rows)
    return _boxes_in_rows(in_row).astype(dtype)


def _boxes_in_rows(in_row: np.ndarray) -> Float[Array, "q 4"]:
    """The logits of so many boxes in each row, that cover the picture."""
    rows = len(in_row)
    boxes = [
        ((column + 0.5) / many, (row + 0.5) / rows, 1 / many, 1 / rows)
        for row, many in enumerate(in_row.tolist())
        for column in range(many)
    ]
    return jax.scipy.special.logit(jnp.clip(jnp.asarray(boxes), 0.02, 0.98))
