"""Frozen kernels in four or eight bits: the base below adapters of QLoRA."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.adapt.base import Adapter, Site, Values, boxed, is_dense
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Dtype, Float

Form = Literal["nf4", "int8"]

NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""The sixteen values of NormalFloat (Dettmers et al. 2023, appendix E)."""

_BETWEEN = tuple((low + high) / 2 for low, high in itertools.pairwise(NF4))


def quantize(
    kernel: Float[Array, "*layers i o"], form: Form, block: int
) -> tuple[Array, Float[Array, "*layers n o"]]:
    """Codes and scales of a kernel, in blocks of `block` inputs of one output.

    A block is divided by its largest magnitude, its scale, as `bitsandbytes` does with the rows of
    torch's weight. Codes of "nf4" are the nearest of `NF4`, two in a byte, uint8
    `[*layers n block/2 o]`; those of "int8" are 127ths, int8 `[*layers n block o]`. Inputs that
    fill the last block are 0.
    """
    *layers, inputs, outputs = kernel.shape
    count = -(-inputs // block)
    more = [(0, 0)] * len(layers) + [(0, count * block - inputs), (0, 0)]
    parts = jnp.pad(jnp.asarray(kernel, jnp.float32), more)
    parts = parts.reshape(*layers, count, block, outputs)
    scales = jnp.abs(parts).max(axis=-2)
    shares = parts / jnp.where(scales > 0, scales, 1.0)[..., None, :]
    if form == "int8":
        return jnp.round(shares * 127).astype(jnp.int8), scales
    codes = jnp.searchsorted(jnp.asarray(_BETWEEN, jnp.float32), shares).astype(jnp.uint8)
    return codes[..., ::2, :] << 4 | codes[..., 1::2, :], scales


def dequantize(
    codes: Array, scales: Float[Array, "*layers n o"], inputs: int, dtype: Dtype = jnp.float32
) -> Float[Array, "*layers i o"]:
    """The kernel that codes and scales stand for, with so many inputs."""
    if codes.dtype == jnp.int8:
        shares = codes.astype(dtype) / jnp.asarray(127, dtype)
    else:
        both = jnp.stack([codes >> 4, codes & 15], axis=-2)
        *layers, count, half, _, outputs = both.shape
        both = both.reshape(*layers, count, 2 * half, outputs)
        shares = jnp.asarray(NF4, dtype)[both]
    parts = shares * scales[..., None, :].astype(dtype)
    *layers, count, block, outputs = parts.shape
    return parts.reshape(*layers, count * block, outputs)[..., :inputs, :]


@dataclasses.dataclass(frozen=True)
class Quantized(Adapter):
    """Kernels of frozen dense layers in 4 bits (NormalFloat, "nf4") or 8 ("int8").

    With a LoRA beside it, QLoRA (Dettmers et al. 2023) without its second quantisation of scales:
    4.5 or 8.5 bits a number with blocks of 64. Weights are read whole when a run begins, and then
    kept, saved and loaded as codes; a product makes its kernel anew, forwards and backwards.
    Biases, norms and embeddings stay as they are. DoRA cannot be beside it.
    """

    learns: ClassVar[bool] = False
    replaces: ClassVar[tuple[str, ...]] = ("kernel",)

    form: Form = "nf4"
    block: int = 64
    """Inputs that share a scale."""
    targets: tuple[str, ...] = (r"^encoders_",)

    def __post_init__(self) -> None:
        if self.block < 2 or self.block % 2:
            raise ConfigError(106, f"block = {self.block}", fix="expected an even number, as 64")

    def fits(self, module: nn.Module) -> bool:
        return is_dense(module)

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        inputs, outputs = math.prod(site.inputs), math.prod(site.outputs)
        count = -(-inputs // self.block)
        packed = self.block // 2 if self.form == "nf4" else self.block
        codes = jnp.zeros(
            (*site.stacked, count, packed, outputs),
            jnp.uint8 if self.form == "nf4" else jnp.int8,
        )
        names = (*site.stacked_names, site.input_names[0])
        scales = jnp.zeros((*site.stacked, count, outputs))
        return {
            "codes": boxed(codes, (*names, None, site.output_names[0])),
            "scales": boxed(scales, (*names, site.output_names[0])),
        }

    def of(self, kernel: Array, values: Values) -> Values:
        """The parameters for a kernel, of one layer or of stacked ones."""
        codes, scales = values["codes"], values["scales"]
        stacked, outputs = scales.shape[:-2], scales.shape[-1]
        codes, scales = quantize(kernel.reshape(*stacked, -1, outputs), self.form, self.block)
        return {"codes": codes, "scales": scales}

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        (given,) = args
        features = getattr(module, "features", None)
        shape = features if isinstance(features, tuple) else (features,)
        axes = getattr(module, "axis", -1)
        count = len(axes) if isinstance(axes, tuple) else 1
        dtype = module.dtype or jnp.result_type(given, module.param_dtype)
        flat = jnp.asarray(given, dtype)
        flat = flat.reshape(*flat.shape[: flat.ndim - count], -1)

        # What is made again for the gradient is not kept until then, nor found to be the same.
        @jax.checkpoint
        def product(flat: Array, codes: Array, scales: Array) -> Array:
            kernel = dequantize(codes, scales, flat.shape[-1], dtype)
            dot = module.dot_general or jax.lax.dot_general
            contracted = (((flat.ndim - 1,), (0,)), ((), ()))
            return dot(flat, kernel, contracted, precision=module.precision)

        output = product(flat, values["codes"], values["scales"])
        output = output.reshape(*output.shape[:-1], *shape)
        if not module.use_bias:
            return output
        return output + jnp.asarray(module.get_variable("params", "bias"), dtype)
