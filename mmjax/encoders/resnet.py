"""ResNet and RegNet: residual convolutions with batch normalisation."""

from __future__ import annotations

from typing import Any, Literal

import einops
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Dtype, Float
from mmjax.nn.convolution import conv, window_max
from mmjax.nn.dense import ACTIVATIONS, Activation
from mmjax.nn.norms import batch_norm
from mmjax.nn.pooling import masked_mean
from mmjax.nn.stack import Remat, Stack

Kind = Literal["basic", "bottleneck", "x", "y"]


class ConvNorm(nn.Module, kw_only=True):
    """A convolution without bias, batch norm, and an activation or none."""

    channels: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    activation: Activation = "linear"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b y x d"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = conv(
            self.channels,
            kernel=self.kernel,
            stride=self.stride,
            groups=self.groups,
            use_bias=False,
            padding=((self.kernel // 2, self.kernel // 2),) * 2,
            name="conv",
            **types,
        )(values)
        values = batch_norm(name="norm", **types)(values, use_running_average=not train)
        return ACTIVATIONS[self.activation](values)


class SqueezeExcite(nn.Module, kw_only=True):
    """Each channel times a factor that is computed from all channels' means (Hu et al. 2018)."""

    reduced: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        means = values.mean(axis=(1, 2), keepdims=True)
        hidden = nn.relu(conv(self.reduced, kernel=1, name="reduce", **types)(means))
        factors = nn.sigmoid(conv(values.shape[-1], kernel=1, name="expand", **types)(hidden))
        return values * factors


class ResidualBlock(nn.Module, kw_only=True):
    """Two or three convolutions beside a shortcut, activated after their sum.

    In RegNet `activation` is that between the convolutions too, where ResNet always has a ReLU.
    `kind` is ResNet's "basic" (3 3) or "bottleneck" (1 3 1, a quarter of the channels in between),
    or RegNet's "x" (1 3 1, the 3 in groups) or "y" (with squeeze and excitation behind the 3).
    """

    channels: int
    kind: Kind = "bottleneck"
    stride: int = 1
    stride_first: bool = False
    """Whether a bottleneck's first convolution has the stride, as in the first ResNet."""
    group_width: int = 64
    activation: Activation = "relu"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b y x d"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        channels, inner, stride = self.channels, self.channels, self.stride
        layers: list[dict[str, Any]] = [
            {"channels": channels, "stride": stride},
            {"channels": channels},
        ]
        if self.kind != "basic":
            groups = 1
            if self.kind == "bottleneck":
                inner = channels // 4
            else:
                groups = max(1, channels // self.group_width)
            early = self.stride_first and self.kind == "bottleneck"
            layers = [
                {"channels": inner, "kernel": 1, "stride": stride if early else 1},
                {"channels": inner, "stride": 1 if early else stride, "groups": groups},
                {"channels": channels, "kernel": 1},
            ]
        between: Activation = "relu" if self.kind in ("basic", "bottleneck") else self.activation
        hidden = values
        for index, settings in enumerate(layers):
            last = index == len(layers) - 1
            if last and self.kind == "y":
                reduced = round(values.shape[-1] / 4)
                hidden = SqueezeExcite(reduced=reduced, name="excite", **types)(hidden)
            layer = ConvNorm(
                **settings,
                activation="linear" if last else between,
                name=f"conv_{index}",
                **types,
            )
            hidden = layer(hidden, train=train)
        if values.shape[-1] != channels or stride != 1:
            shortcut = ConvNorm(
                channels=channels, kernel=1, stride=stride, name="shortcut", **types
            )
            values = shortcut(values, train=train)
        return ACTIVATIONS[self.activation](values + hidden)


class ResNet(nn.Module, kw_only=True):
    """ResNet (He et al. 2016, the stride in the 3 x 3 convolution as in torchvision's v1.5).

    Its parameters and batch statistics are those of transformers' `ResNetModel`. Tokens are the
    positions of the last stage, row by row, and `pooled` is their mean. In training, batch norm
    takes the statistics of the batch at hand and its running averages (`batch_stats`) move by a
    tenth; apply with `mutable=["batch_stats"]`. Raises ConfigError unless every stage has a depth.
    """

    stem: int = 64
    stem_kernel: int = 7
    stem_pool: bool = True
    channels: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    kind: Kind = "bottleneck"
    activation: Activation = "relu"
    first_stride: int = 1
    """Of the first stage; that of the others is 2."""
    stride_first: bool = False
    group_width: int = 64
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
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        stem = ConvNorm(
            channels=self.stem,
            kernel=self.stem_kernel,
            stride=2,
            activation=self.activation,
            name="stem",
            **types,
        )
        values = stem(jnp.asarray(pixel_values, self.dtype), train=train)
        if self.stem_pool:
            values = window_max(values, size=3, stride=2, border=1)
        for stage, (channels, depth) in enumerate(zip(self.channels, self.depths, strict=True)):
            settings = {
                "channels": channels,
                "kind": self.kind,
                "stride_first": self.stride_first,
                "group_width": self.group_width,
                "activation": self.activation,
                **types,
            }
            stride = self.first_stride if stage == 0 else 2
            first = ResidualBlock(**settings, stride=stride, name=f"stage_{stage}_first")
            values = first(values, train=train)
            rest = Stack(
                block=ResidualBlock,
                settings=settings,
                depth=depth - 1,
                remat=self.remat,
                name=f"stage_{stage}",
            )
            values = rest(values, train=train)
        tokens = einops.rearrange(values, "b h w c -> b (h w) c")
        mask = jnp.ones(tokens.shape[:2], bool)
        return Tokens(tokens, mask, masked_mean(tokens, mask))


class RegNet(ResNet, kw_only=True):
    """RegNet (Radosavovic et al. 2020), X (`kind="x"`) or Y.

    Its parameters and batch statistics are those of transformers' `RegNetModel`.
    """

    stem: int = 32
    stem_kernel: int = 3
    stem_pool: bool = False
    channels: tuple[int, ...] = (128, 192, 512, 1088)
    depths: tuple[int, ...] = (2, 6, 12, 2)
    kind: Kind = "y"
    first_stride: int = 2
