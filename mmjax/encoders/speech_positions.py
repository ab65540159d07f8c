"""Relative positions by convolution over the frames, as speech encoders learn them."""

from __future__ import annotations

import math
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Dtype, Float
from mmjax.nn.convolution import conv1d
from mmjax.nn.dense import ACTIVATIONS, Activation, parameter
from mmjax.nn.grouped_convolution import grouped_convolution
from mmjax.nn.norms import batch_norm

PositionNorm = Literal["weight", "batch", "layer"]

_EPS = 1e-5
"""torch's default, which no config of these families changes."""


def same(kernel: int) -> tuple[int, int]:
    """Padding that keeps the length; an even kernel looks one frame further back than ahead."""
    return kernel // 2, (kernel - 1) // 2


class WeightNormConv(nn.Module, kw_only=True):
    """A grouped convolution along time whose kernel is `gain * direction / |direction|`.

    Norm and gain are those of each place in the kernel (Salimans and Kingma 2016, as torch's
    `weight_norm(dim=2)`). It keeps length and width.
    """

    kernel: int
    groups: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        width = values.shape[-1]
        shape = (self.kernel, width // self.groups, width)
        types = {"param_dtype": self.param_dtype}
        deviation = 2 / math.sqrt(self.kernel * width)
        direction = parameter(
            self,
            "direction",
            shape,
            ("spatial", "channels_in", "channels_out"),
            init=nn.initializers.normal(deviation),
            **types,
        )
        gain = parameter(
            self,
            "gain",
            (self.kernel,),
            ("spatial",),
            init=nn.initializers.constant(deviation * math.sqrt(shape[1] * shape[2])),
            **types,
        )
        bias = parameter(
            self, "bias", (width,), ("channels_out",), init=nn.initializers.zeros, **types
        )
        length = jnp.sqrt(jnp.sum(jnp.square(direction), axis=(1, 2)))
        kernel = direction * (gain / length)[:, None, None]
        values = grouped_convolution(
            values.astype(self.dtype),
            kernel.astype(self.dtype),
            strides=(1,),
            padding=[same(self.kernel)],
            groups=self.groups,
        )
        return values + bias.astype(self.dtype)


class ConvPositions(nn.Module, kw_only=True):
    """What is added to the frames to tell them their places.

    `norm="weight"` is one convolution with weight normalisation (wav2vec 2.0), `"batch"` one
    behind a batch normalisation (a variant of HuBERT), `"layer"` as many as `depth`, each before a
    layer normalisation without parameters (data2vec). All end with the activation.
    """

    kernel: int
    groups: int
    norm: PositionNorm = "weight"
    depth: int = 1
    activation: Activation = "gelu"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "b t d"], *, train: bool) -> Float[Array, "b t d"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        activate = ACTIVATIONS[self.activation]
        if self.norm == "weight":
            conv = WeightNormConv(kernel=self.kernel, groups=self.groups, name="conv_0", **types)
            return activate(conv(values))
        if self.norm == "batch":
            values = batch_norm(name="norm", eps=_EPS, **types)(
                values, use_running_average=not train
            )
        for index in range(self.depth):
            values = conv1d(
                values.shape[-1],
                kernel=self.kernel,
                groups=self.groups,
                padding=same(self.kernel),
                name=f"conv_{index}",
                **types,
            )(values)
            if self.norm == "layer":
                norm = nn.LayerNorm(epsilon=_EPS, use_scale=False, use_bias=False, dtype=self.dtype)
                values = norm(values)
            values = activate(values)
        return values
