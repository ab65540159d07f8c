"""The vision transformer, and what DeiT and DINOv2 add to it."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import ACTIVATIONS, Activation, dense, parameter
from mmjax.nn.masking import keep_tokens
from mmjax.nn.norms import layer_norm
from mmjax.nn.patches import PatchEmbed, patch_grid
from mmjax.nn.pooling import masked_mean
from mmjax.nn.positions import resize_positions


class ViT(TransformerEncoder, kw_only=True):
    """ViT (Dosovitskiy et al. 2021): patches, a class token, learned positions, pre-norm blocks.

    Its parameters are those of transformers' `ViTModel`, one for one; with `distillation_token`
    those of `DeiTModel` (Touvron et al. 2021), with `layer_scale` (and `gated`) of `Dinov2Model`
    (Oquab et al. 2023), with `registers` (Darcet et al. 2023) of its successor. Tokens are the
    class token, the distillation token, the registers and the patches, row by row.

    Positions are learned for pictures of `image_size` (pixels: one side, or height and width) and
    interpolated for others, as transformers does with `interpolate_pos_encoding=True`; a border
    that does not fill a `patch` is cut. Patches that `bool_masked_pos` marks are replaced by the
    learned `mask_token`.

    `pooled` is the class token after the final norm; with `pooling="pooler"` an activated dense
    layer on it, as in `ViTModel`; with `"mean"` the mean of the patches, with `"normed_mean"` that
    mean normalised. Raises ConfigError for masked patches without a mask token.
    """

    image_size: int | tuple[int, int] = fact()
    patch: int | tuple[int, int] = 4
    depth: int = 4
    eps: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0
    distillation_token: bool = False
    registers: int = 0
    mask_token: bool = False
    learned_positions: bool = True
    antialias: bool = False
    """Whether positions are smoothed where they are interpolated to fewer."""
    layer_scale: float | None = None
    gated: bool = False
    final_norm: bool = True
    pooling: Literal["cls", "pooler", "mean", "normed_mean"] = "cls"
    pooler_activation: Activation = "tanh"

    @nn.compact
    def __call__(
        self,
        pixel_values: Float[ArrayLike, "b h w c"],
        bool_masked_pos: Bool[ArrayLike, "b p"] | None = None,
        keep: Int[ArrayLike, "b m"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        values, grid = self.embed(jnp.asarray(pixel_values, self.dtype), bool_masked_pos)
        if keep is not None:
            values = keep_tokens(values, keep, extra=self.extra_tokens)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        values = self.encode(values, grid, train=train)
        return Tokens(values, jnp.ones(values.shape[:2], bool), self.pool(values))

    def embed(
        self, pixels: Float[Array, "b h w c"], masked: Bool[ArrayLike, "b p"] | None
    ) -> tuple[Float[Array, "b n d"], tuple[int, int]]:
        """The tokens before the blocks, and the rows and columns of the patches."""
        values = PatchEmbed(patch=self.patch, width=self.width, name="patches", **self.types())(
            pixels
        )
        if self.mask_token:
            stand_in = self._learned("mask_token", 1)
            if masked is not None:
                values = jnp.where(jnp.asarray(masked, bool)[..., None], stand_in, values)
        elif masked is not None:
            raise ConfigError(109, "bool_masked_pos without a mask token", fix="mask_token=True")
        first = [self._learned("class_token", 1)]
        if self.distillation_token:
            first.append(self._learned("distillation_token", 1))
        rows, columns = patch_grid(pixels.shape[1:3], self.patch)
        values = _behind(first, values)
        if self.learned_positions:
            old = self.window((rows, columns))
            table = self._learned("positions", old[0] * old[1] + len(first))
            values = values + resize_positions(
                table, old, (rows, columns), extra_tokens=len(first), antialias=self.antialias
            )
        if self.registers:
            registers = jnp.broadcast_to(
                self._learned("registers", self.registers),
                (values.shape[0], self.registers, self.width),
            )
            parts = [values[:, : len(first)], registers, values[:, len(first) :]]
            values = jnp.concatenate(parts, axis=1)
        return values, (rows, columns)

    def encode(self, values: Array, grid: tuple[int, int], *, train: bool) -> Array:
        """The blocks."""
        blocks = self.transformer(
            layer_scale=self.layer_scale, gated=self.gated, final_norm=self.final_norm
        )
        return blocks(values, train=train)

    def pool(self, values: Float[Array, "b n d"]) -> Float[Array, "b d"]:
        if self.pooling in ("cls", "pooler"):
            pooled = values[:, 0]
            if self.pooling == "cls":
                return pooled
            layer = dense(self.width, ("embed", "joined"), name="pooler", **self.types())
            return ACTIVATIONS[self.pooler_activation](layer(pooled))
        patches = values[:, self.extra_tokens :]
        pooled = masked_mean(patches, jnp.ones(patches.shape[:2], bool))
        if self.pooling == "mean":
            return pooled
        return layer_norm(name="pooled_norm", eps=self.eps, **self.types())(pooled)

    @property
    def extra_tokens(self) -> int:
        """How many come before the patches."""
        return 1 + self.distillation_token + self.registers

    def window(self, grid: tuple[int, int]) -> tuple[int, int]:
        """The rows and columns that positions are learned for: those at hand, unless told."""
        if self.image_size is None:
            return grid
        size = self.image_size
        rows, columns = patch_grid((size, size) if isinstance(size, int) else size, self.patch)
        return rows, columns

    def _learned(self, name: str, count: int) -> Array:
        shape, axes = (1, count, self.width), (None, "tokens", "embed")
        init = nn.initializers.normal(0.02)
        return parameter(self, name, shape, axes, init=init, **self.types())


def _behind(first: list[Float[Array, "1 m d"]], values: Float[Array, "b n d"]) -> Array:
    """`values` with the same learned tokens before each row."""
    batch = values.shape[0]
    told = [jnp.broadcast_to(token, (batch, *token.shape[1:])) for token in first]
    return jnp.concatenate([*told, values], axis=1)


class ViTBase(ViT, kw_only=True):
    """`vit-base-patch16`: 12 layers of width 768 over 16 x 16 patches."""

    patch: int | tuple[int, int] = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    scan: bool = True
