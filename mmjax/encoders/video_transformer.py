"""A transformer over the tubelets of a video: VideoMAE and ViViT."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import dense, parameter
from mmjax.nn.masking import keep_tokens
from mmjax.nn.patches import PatchEmbed, patch_grid, patch_shape
from mmjax.nn.pooling import masked_mean
from mmjax.nn.positions import resize_positions, sinusoid_table
from mmjax.nn.temporal import shorter_mask, whole_mask, without_padding


class VideoTransformer(TransformerEncoder, kw_only=True):
    """Blocks over tubelets of `tubelet` frames of a `patch` each, frame by frame, row by row.

    Positions are learned, or sinusoids, for `frames` frames of `image_size` pixels (one side, or
    height and width), and interpolated linearly for others. Frames, rows and columns that do not
    fill a tubelet are cut. A tubelet counts where `frame_mask` has any of its frames; masked frames
    are 0 there. `pooled` is the mean of the tubelets, the class token, or with `"pooler"` the tanh
    of a dense layer on it. With `keep`, the places of as many tubelets in each row, the blocks see
    these alone, in its order (VideoMAE, Tong et al. 2022).
    """

    frames: int = fact()
    image_size: int | tuple[int, int] = fact()
    tubelet: int = 2
    patch: int | tuple[int, int] = 4
    depth: int = 4
    dropout: float = 0.0
    attention_dropout: float = 0.0
    positions: Literal["learned", "sinusoids"] = "learned"
    class_token: bool = True
    final_norm: bool = True
    pooling: Literal["mean", "cls", "pooler"] = "mean"

    @nn.compact
    def __call__(
        self,
        pixel_values: Float[ArrayLike, "b t h w c"],
        frame_mask: Bool[ArrayLike, "b t"] | None = None,
        keep: Int[ArrayLike, "b m"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        pixels = jnp.asarray(pixel_values, self.dtype)
        seen = whole_mask(frame_mask, pixels)
        size = (self.tubelet, *patch_shape(self.patch, 2))
        grid = patch_grid(pixels.shape[1:4], size)
        embed = PatchEmbed(patch=size, width=self.width, name="patches", **self.types())
        values = embed(without_padding(pixels, seen))
        times = shorter_mask(seen[:, : grid[0] * self.tubelet], self.tubelet)
        mask = jnp.repeat(times, grid[1] * grid[2], axis=1)
        if self.class_token:
            first = jnp.broadcast_to(self._learned("class_token", 1), (len(values), 1, self.width))
            values = jnp.concatenate([first, values], axis=1)
            mask = jnp.concatenate([mask.any(axis=1, keepdims=True), mask], axis=1)
        values = values + self._positions(grid, size)
        if keep is not None:
            extra = int(self.class_token)
            values = keep_tokens(values, keep, extra=extra)
            mask = keep_tokens(mask, keep, extra=extra)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        values = self.transformer(final_norm=self.final_norm)(values, mask, train=train)
        return Tokens(values, mask, self._pool(values, mask))

    def _positions(self, grid: tuple[int, ...], size: tuple[int, ...]) -> Float[Array, "1 n d"]:
        old, extra = grid, int(self.class_token)
        if self.image_size is not None and self.frames is not None:
            side = self.image_size
            space = (side, side) if isinstance(side, int) else tuple(side)
            old = patch_grid((self.frames, *space), size)
        count = old[0] * old[1] * old[2] + extra
        if self.positions == "sinusoids":
            table = jnp.asarray(sinusoid_table(count, self.width), self.dtype)[None]
        else:
            table = self._learned("positions", count)
        return resize_positions(table, old, grid, method="linear", extra_tokens=extra)

    def _pool(self, values: Float[Array, "b n d"], mask: Bool[Array, "b n"]) -> Array:
        if self.pooling == "mean":
            start = int(self.class_token)
            return masked_mean(values[:, start:], mask[:, start:])
        pooled = values[:, 0]
        if self.pooling == "pooler":
            layer = dense(self.width, ("embed", "joined"), name="pooler", **self.types())
            pooled = jnp.tanh(layer(pooled))
        return jnp.where(mask.any(axis=1, keepdims=True), pooled, 0)

    def _learned(self, name: str, count: int) -> Array:
        shape, axes = (1, count, self.width), (None, "tokens", "embed")
        init = nn.initializers.normal(0.02)
        return parameter(self, name, shape, axes, init=init, **self.types())


class VideoMAE(VideoTransformer, kw_only=True):
    """The encoder of VideoMAE (Tong et al. 2022), of all tubelets: sinusoids, no class token.

    Its parameters are those of transformers' `VideoMAEModel`, which has no key biases and, with
    `use_mean_pooling`, no final norm.
    """

    eps: float = 1e-12
    use_bias: bool | tuple[str, ...] = ("query", "value", "out")
    positions: Literal["learned", "sinusoids"] = "sinusoids"
    class_token: bool = False
    final_norm: bool = False


class ViViT(VideoTransformer, kw_only=True):
    """ViViT's model 1 (Arnab et al. 2021), attention over all tubelets, with a class token.

    Its parameters are those of transformers' `VivitModel`.
    """

    pooling: Literal["mean", "cls", "pooler"] = "cls"
