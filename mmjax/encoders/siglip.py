"""The two towers of SigLIP and SigLIP 2, each an encoder of its own."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.encoders.clip import square_positions, word_vectors
from mmjax.encoders.seq2seq import valid
from mmjax.nn.attention import Attention
from mmjax.nn.dense import Activation, dense, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.patches import PatchEmbed
from mmjax.nn.pooling import masked_mean
from mmjax.nn.positions import positions_of_shapes
from mmjax.nn.transformer import Mlp


class AttentionPool(nn.Module, kw_only=True):
    """A learned query over the tokens, then an MLP with a residual (MAP head, Zhai et al. 2022)."""

    heads: int
    mlp_dim: int
    activation: Activation = "gelu_tanh"
    eps: float = 1e-6
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, values: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool
    ) -> Float[Array, "b d"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        shape = (1, 1, values.shape[-1])
        init = nn.initializers.xavier_uniform()
        probe = parameter(self, "probe", shape, (None, None, "embed"), init=init, **types)
        probe = jnp.broadcast_to(probe, (values.shape[0], *shape[1:]))
        attend = Attention(heads=self.heads, name="attention", **types)
        pooled = attend(probe, values, mask=mask, train=train)
        normed = layer_norm(name="norm", eps=self.eps, **types)(pooled)
        mlp = Mlp(hidden=self.mlp_dim, activation=self.activation, name="mlp", **types)
        return (pooled + mlp(normed, train=train))[:, 0]


def pooled(
    module: Any, values: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool
) -> Float[Array, "b d"]:
    """By the head of a vision tower, or the mean where it has none."""
    if not module.head:
        return masked_mean(values, mask)
    pool = AttentionPool(
        heads=module.heads,
        mlp_dim=module.mlp_dim,
        activation=module.activation,
        eps=module.eps,
        name="pool",
        **module.types(),
    )
    return pool(values, mask, train=train)


class SiglipVision(TransformerEncoder, kw_only=True):
    """SigLIP's vision transformer (Zhai et al. 2023): no class token, pooled by attention.

    Its parameters are those of transformers' `SiglipVisionModel`, one for one. Without `head`,
    `pooled` is the mean of the patches. Positions are learned for square pictures of `image_size`
    pixels and interpolated for others, as transformers does with `interpolate_pos_encoding=True`.
    """

    image_size: int = fact()
    patch: int = 16
    activation: Activation = "gelu_tanh"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    head: bool = True

    @nn.compact
    def __call__(self, pixel_values: Float[ArrayLike, "b h w c"], *, train: bool) -> Tokens:
        types = self.types()
        pixels = jnp.asarray(pixel_values, self.dtype)
        values = PatchEmbed(patch=self.patch, width=self.width, name="patches", **types)(pixels)
        values = values + square_positions(self, pixels)
        values = self.transformer()(values, train=train)
        mask = jnp.ones(values.shape[:2], bool)
        return Tokens(values, mask, pooled(self, values, mask, train=train))


class Siglip2Vision(TransformerEncoder, kw_only=True):
    """SigLIP 2's NaFlex tower (Tschannen et al. 2025): pictures of any shape, cut into patches.

    `pixel_values` are flattened patches (row, column, channel), row by row and then padding, as
    transformers' `Siglip2ImageProcessor` makes them; `spatial_shapes` are each picture's rows and
    columns of patches. Positions are learned for a square of `positions` cells and interpolated.
    Its parameters are those of transformers' `Siglip2VisionModel`, one for one.
    """

    positions: int = 256
    activation: Activation = "gelu_tanh"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    head: bool = True

    @nn.compact
    def __call__(
        self,
        pixel_values: Float[ArrayLike, "b n p"],
        spatial_shapes: Int[ArrayLike, "b 2"],
        pixel_attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        patches = jnp.asarray(pixel_values, self.dtype)
        if pixel_attention_mask is None:
            pixel_attention_mask = jnp.ones(patches.shape[:2], bool)
        mask = jnp.asarray(pixel_attention_mask, bool)
        side = math.isqrt(self.positions)
        table = parameter(
            self,
            "positions",
            (side * side, self.width),
            ("tokens", "embed"),
            init=nn.initializers.normal(0.02),
            **types,
        ).reshape(side, side, self.width)
        values = dense(self.width, ("patch", "embed"), name="patches", **types)(patches)
        values = values + positions_of_shapes(table, spatial_shapes, values.shape[1])
        values = self.transformer()(values, mask, train=train)
        return Tokens(values, mask, pooled(self, values, mask, train=train))


class SiglipText(TransformerEncoder, kw_only=True):
    """SigLIP's text transformer: not causal, `pooled` from the last token, padding or not.

    Its parameters are those of transformers' `SiglipTextModel`, one for one. It was trained on
    texts padded to `max_length`, and without a mask, which its own processor does not give. A mask
    that is given is applied, as in transformers.
    """

    vocab_size: int = fact()
    max_length: int = fact()
    projection_dim: int | None = None
    """Of `pooled`; the width if None."""
    activation: Activation = "gelu_tanh"
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        ids = jnp.asarray(input_ids)
        mask = valid(attention_mask, ids)
        values = self.transformer()(word_vectors(self, ids, position_ids), mask, train=train)
        head = dense(
            self.projection_dim or self.width, ("embed", "joined"), name="head", **self.types()
        )
        return Tokens(values, mask, head(values[:, -1]))
