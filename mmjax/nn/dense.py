"""Dense layers and embeddings with logical axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Dtype
from mmjax.kernels.matmul import dot_general

Initializer = Callable[..., Any]

fan_in: Initializer = nn.initializers.lecun_normal()
"""Variance 1 / inputs: the default for a layer whose input has unit variance."""


def dense(
    features: int | Sequence[int],
    axes: tuple[str | None, ...],
    *,
    name: str,
    contract: int | Sequence[int] = -1,
    use_bias: bool = True,
    init: Initializer = fan_in,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> nn.DenseGeneral:
    """A dense layer over the axes `contract` of its input, with kernel axes named `axes`."""
    outputs = 1 if isinstance(features, int) else len(features)
    return nn.DenseGeneral(
        features,
        axis=contract,
        use_bias=use_bias,
        kernel_init=nn.with_logical_partitioning(init, axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros, axes[-outputs:]),
        dot_general=dot_general,
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )


def embedding(
    count: int,
    width: int,
    *,
    name: str,
    axes: tuple[str, str] = ("vocab", "embed"),
    stddev: float = 0.02,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> nn.Embed:
    """A table of `count` vectors of size `width`."""
    init = nn.initializers.normal(stddev)
    return nn.Embed(
        count,
        width,
        embedding_init=nn.with_logical_partitioning(init, axes),
        dtype=dtype,
        param_dtype=param_dtype,
        name=name,
    )


def parameter(
    module: nn.Module,
    name: str,
    shape: tuple[int, ...],
    axes: tuple[str | None, ...],
    *,
    init: Initializer,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
) -> Array:
    """A free parameter of `module` with named axes, in the compute dtype."""
    value: Any = module.param(name, nn.with_logical_partitioning(init, axes), shape, param_dtype)
    return jnp.asarray(value, dtype)


Activation = Literal[
    "gelu",
    "gelu_tanh",
    "quick_gelu",
    "relu",
    "silu",
    "tanh",
    "sigmoid",
    "mish",
    "leaky_relu",
    "relu_squared",
    "linear",
]

ACTIVATIONS: dict[str, Callable] = {
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * nn.sigmoid(1.702 * x),
    "relu": nn.relu,
    "silu": nn.silu,
    "tanh": jnp.tanh,
    "sigmoid": nn.sigmoid,
    "mish": lambda x: x * jnp.tanh(nn.softplus(x)),
    "leaky_relu": nn.leaky_relu,
    "relu_squared": lambda x: jnp.square(nn.relu(x)),
    "linear": lambda x: x,
}
"""Activations by name; `gelu` is the exact one, as BERT's and ViT's, `quick_gelu` CLIP's."""
