"""ConvNeXt, a convolutional network built like a transformer."""

from __future__ import annotations

from typing import Any

import einops
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Dtype, Float
from mmjax.nn.convolution import conv
from mmjax.nn.dense import ACTIVATIONS, Activation, dense, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.patches import PatchEmbed, patch_grid
from mmjax.nn.pooling import masked_mean
from mmjax.nn.stack import Remat, Stack
from mmjax.nn.transformer import drop_path

_EPS = 1e-6


class ResponseNorm(nn.Module, kw_only=True):
    """Global response normalisation (Woo et al. 2023, equations 1 to 3): channels compete."""

    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        wide = values.astype(jnp.float32)
        total = jnp.sum(jnp.square(wide), axis=(1, 2), keepdims=True)
        # The root of an exact 0 has no gradient.
        norm = jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1)), 0)
        share = (norm / (norm.mean(axis=-1, keepdims=True) + _EPS)).astype(values.dtype)
        scale, bias = (
            parameter(
                self,
                name,
                (values.shape[-1],),
                ("norm",),
                init=nn.initializers.zeros,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
            )
            for name in ("scale", "bias")
        )
        return scale * (values * share) + bias + values


class ConvNeXtBlock(nn.Module, kw_only=True):
    """A 7 x 7 convolution of each channel alone, a norm, and an MLP of each position."""

    activation: Activation = "gelu"
    layer_scale: float | None = None
    response_norm: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b h w c"],
        drop_path_rate: Float[Array, ""] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b h w c"]:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        width = values.shape[-1]
        hidden = conv(width, kernel=7, groups=width, name="depthwise", **types)(values)
        hidden = layer_norm(name="norm", eps=_EPS, **types)(hidden)
        hidden = dense(4 * width, ("embed", "mlp"), name="up", **types)(hidden)
        hidden = ACTIVATIONS[self.activation](hidden)
        if self.response_norm:
            hidden = ResponseNorm(name="response_norm", **types)(hidden)
        hidden = dense(width, ("mlp", "embed"), name="down", **types)(hidden)
        if self.layer_scale is not None:
            init = nn.initializers.constant(self.layer_scale)
            hidden = hidden * parameter(self, "scale", (width,), ("norm",), init=init, **types)
        if train and drop_path_rate is not None:
            hidden = drop_path(hidden, self.make_rng("dropout"), drop_path_rate)
        return values + hidden


class ConvNeXt(nn.Module, kw_only=True):
    """ConvNeXt (Liu et al. 2022): stages of blocks, each after a norm and 2 x 2 patches.

    Its parameters are those of transformers' `ConvNextModel`; with `response_norm` and without
    `layer_scale` those of `ConvNextV2Model` (Woo et al. 2023). Tokens are the positions of the last
    stage, row by row; `pooled` is their mean, normalised. `drop_path` grows from 0 in the first
    block to its value in the last. Raises ConfigError unless every stage has a depth.
    """

    patch: int = 4
    channels: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (3, 3, 9, 3)
    activation: Activation = "gelu"
    layer_scale: float | None = 1e-6
    response_norm: bool = False
    eps: float = 1e-12
    """Of the last norm; that of the others is 1e-6."""
    drop_path: float = 0.0
    scan: bool = False
    remat: Remat = "none"
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(self, pixel_values: Float[ArrayLike, "b h w c"], *, train: bool) -> Tokens:
        if len(self.channels) != len(self.depths):
            raise ConfigError(
                109,
                f"{len(self.depths)} depths for {len(self.channels)} stages",
                fix="one number each a stage, such as channels=(64, 128) depths=(2, 2)",
            )
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def patches(values: Array, size: int, width: int, name: str) -> Array:
            rows, columns = patch_grid(values.shape[1:3], size)
            values = PatchEmbed(patch=size, width=width, name=name, **types)(values)
            return einops.rearrange(values, "b (h w) c -> b h w c", h=rows, w=columns)

        settings = {
            "activation": self.activation,
            "layer_scale": self.layer_scale,
            "response_norm": self.response_norm,
            **types,
        }
        values = jnp.asarray(pixel_values, self.dtype)
        values = patches(values, self.patch, self.channels[0], "patches")
        values = layer_norm(name="patches_norm", eps=_EPS, **types)(values)
        rates = np.linspace(0, self.drop_path, sum(self.depths), dtype=np.float32)
        for stage, (channels, depth) in enumerate(zip(self.channels, self.depths, strict=True)):
            if stage:
                values = layer_norm(name=f"stage_{stage}_norm", eps=_EPS, **types)(values)
                values = patches(values, 2, channels, f"stage_{stage}_patches")
            blocks = Stack(
                block=ConvNeXtBlock,
                settings=settings,
                depth=depth,
                scan=self.scan,
                remat=self.remat,
                name=f"stage_{stage}",
            )
            own, rates = jnp.asarray(rates[:depth]), rates[depth:]
            layerwise = (own,) if train and self.drop_path > 0.0 else ()
            values = blocks(values, layerwise=layerwise, train=train)
        tokens = einops.rearrange(values, "b h w c -> b (h w) c")
        mask = jnp.ones(tokens.shape[:2], bool)
        pooled = layer_norm(name="norm", eps=self.eps, **types)(masked_mean(tokens, mask))
        return Tokens(tokens, mask, pooled)
