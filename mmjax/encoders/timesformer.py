"""TimeSformer: attention over time, and over space."""

from __future__ import annotations

from typing import Any, Literal

import einops
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.attention import Attention
from mmjax.nn.dense import dense, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.patches import PatchEmbed, patch_grid
from mmjax.nn.pooling import masked_mean
from mmjax.nn.stack import Stack
from mmjax.nn.temporal import whole_mask, without_padding
from mmjax.nn.transformer import BlockSettings, Mlp, drop_path, growing


class DividedBlock(BlockSettings, kw_only=True):
    """Attention over the frames of each patch, then over the patches of each frame, then an MLP.

    Tokens are a class token, and patches with their frames in a row. In space, the class token
    stands before every frame, and goes on as the mean over the frames that `mask` has.
    """

    frames: int

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b t"],
        drop_share: Float[Array, ""] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        batch, frames, types = len(values), self.frames, self.types()
        patches = (values.shape[1] - 1) // frames
        attend: dict[str, Any] = {
            "heads": self.heads,
            "use_bias": self.use_bias,
            "dropout": self.attention_dropout,
            **types,
        }

        def dropped(output: Array) -> Array:
            return nn.Dropout(self.dropout, deterministic=not train)(output)

        def branch(output: Array) -> Array:
            if not train or self.drop_path == 0.0:
                return output
            rate = self.drop_path if drop_share is None else self.drop_path * drop_share
            return drop_path(output, self.make_rng("dropout"), rate)

        first, rest = values[:, :1], values[:, 1:]
        time = einops.rearrange(rest, "b (n t) d -> (b n) t d", t=frames)
        attention = Attention(**attend, name="temporal_attention")
        own = jnp.repeat(mask, patches, axis=0)
        time = attention(self.make_norm("temporal_norm")(time), mask=own, train=train)
        time = einops.rearrange(branch(dropped(time)), "(b n) t d -> b (n t) d", b=batch)
        out = dense(values.shape[-1], ("embed", "joined"), name="temporal_out", **types)
        rest = rest + out(time)

        space = einops.rearrange(rest, "b (n t) d -> (b t) n d", t=frames)
        space = jnp.concatenate([jnp.repeat(first, frames, axis=0), space], axis=1)
        attention = Attention(**attend, name="attention")
        space = branch(dropped(attention(self.make_norm("attention_norm")(space), train=train)))
        space = einops.rearrange(space, "(b t) n d -> b n t d", t=frames)
        first = first + masked_mean(space[:, 0], mask)[:, None]
        rest = rest + space[:, 1:].reshape(rest.shape)

        values = jnp.concatenate([first, rest], axis=1)
        mlp = Mlp(
            hidden=self.mlp_dim,
            activation=self.activation,
            dropout=self.mlp_dropout,
            name="mlp",
            **types,
        )
        return values + branch(dropped(mlp(self.make_norm("mlp_norm")(values), train=train)))


class TimeSformer(TransformerEncoder, kw_only=True):
    """TimeSformer (Bertasius et al. 2021): `attention` is divided over time and space, or joint
    over both, or over space only.

    Its parameters are those of transformers' `TimesformerModel`. Tokens are the class token, then
    the patches, each with its frames in a row; with `"space_only"` frame after frame, each with its
    class token. Positions are learned for pictures of `image_size` and for `frames` frames, and
    those of the nearest are taken for others. Frames that `frame_mask` has not are looked at by no
    other and are not tokens. `pooled` is the class token (the mean of the frames'). `drop_path`
    grows from 0 in the first block to its value in the last.
    """

    frames: int = fact()
    image_size: int | tuple[int, int] = fact()
    patch: int | tuple[int, int] = 4
    depth: int = 4
    dropout: float = 0.0
    attention_dropout: float = 0.0
    attention: Literal["divided", "joint", "space_only"] = "divided"

    @nn.compact
    def __call__(
        self,
        pixel_values: Float[ArrayLike, "b t h w c"],
        frame_mask: Bool[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        pixels = jnp.asarray(pixel_values, self.dtype)
        seen = whole_mask(frame_mask, pixels)
        values = self._space(without_padding(pixels, seen))
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        if self.attention == "space_only":
            return self._alone(values, seen, train=train)
        first, rest = values[:, 0, :1], values[:, :, 1:]
        rest = rest + self._time(rest.shape[1])[:, :, None]
        rest = nn.Dropout(self.dropout, deterministic=not train)(rest)
        values = jnp.concatenate([first, einops.rearrange(rest, "b t n d -> b (n t) d")], axis=1)
        there = seen.any(axis=1, keepdims=True)
        mask = jnp.concatenate([there, jnp.tile(seen, (1, rest.shape[2]))], axis=1)
        if self.attention == "joint":
            values = self._blocks()(values, mask, train=train)
        else:
            settings = {**self._settings(), "frames": rest.shape[1]}
            stack = Stack(
                block=DividedBlock,
                settings=settings,
                depth=self.depth,
                scan=self.scan,
                remat=self.remat,
                name="stack",
            )
            grows = train and self.drop_path > 0.0
            layerwise = (growing(self.depth),) if grows else ()
            values = stack(values, seen, layerwise=layerwise, train=train)
            values = layer_norm(name="norm", eps=self.eps, **self.types())(values)
        return Tokens(values, mask, jnp.where(there, values[:, 0], 0))

    def _space(self, pixels: Float[Array, "b t h w c"]) -> Float[Array, "b t n d"]:
        """Each frame's class token and patches, with their positions."""
        batch, frames = pixels.shape[:2]
        grid = patch_grid(pixels.shape[2:4], self.patch)
        values = PatchEmbed(patch=self.patch, width=self.width, name="patches", **self.types())(
            einops.rearrange(pixels, "b t h w c -> (b t) h w c")
        )
        first = jnp.broadcast_to(self._learned("class_token", 1), (len(values), 1, self.width))
        values = jnp.concatenate([first, values], axis=1)
        old = grid
        if self.image_size is not None:
            side = self.image_size
            old = patch_grid((side, side) if isinstance(side, int) else side, self.patch)
        table = self._learned("positions", old[0] * old[1] + 1)
        rows, columns = nearest(old[0], grid[0]), nearest(old[1], grid[1])
        cells = (1 + rows[:, None] * old[1] + columns[None]).reshape(-1)
        values = values + table[:, np.concatenate([[0], cells])]
        return einops.rearrange(values, "(b t) n d -> b t n d", b=batch, t=frames)

    def _time(self, frames: int) -> Float[Array, "1 t d"]:
        old = self.frames or frames
        return self._learned("times", old)[:, nearest(old, frames)]

    def _alone(
        self, values: Float[Array, "b t n d"], seen: Bool[Array, "b t"], *, train: bool
    ) -> Tokens:
        """Each frame without the others."""
        batch, frames, count = values.shape[:3]
        flat = einops.rearrange(values, "b t n d -> (b t) n d")
        flat = self._blocks()(flat, None, train=train)
        pooled = masked_mean(flat[:, 0].reshape(batch, frames, -1), seen)
        values = einops.rearrange(flat, "(b t) n d -> b (t n) d", b=batch)
        return Tokens(values, jnp.repeat(seen, count, axis=1), pooled)

    def _settings(self) -> dict[str, Any]:
        return {**self.block_settings(), "mlp_dropout": self.dropout}

    def _blocks(self) -> nn.Module:
        return self.transformer(mlp_dropout=self.dropout, drop_path_grows=True)

    def _learned(self, name: str, count: int) -> Array:
        shape, axes = (1, count, self.width), (None, "tokens", "embed")
        init = nn.initializers.normal(0.02)
        return parameter(self, name, shape, axes, init=init, **self.types())


def nearest(old: int, new: int) -> np.ndarray:
    """For each of `new` places the nearest of `old`, as torch's `interpolate` chooses it."""
    return np.arange(new) * old // new
