"""Low-rank adapters of dense layers, convolutions and embeddings: LoRA, rsLoRA, DoRA."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.adapt.base import Adapter, Site, Values, boxed, compute, dropped
from mmjax.adapt.layers import Layer, layer_of, weight_of, with_weight
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array


@dataclasses.dataclass(frozen=True)
class LoRA(Adapter):
    """LoRA: layers with a product of two matrices of `rank` columns added; rsLoRA, DoRA.

    y = W x + scale * B A x (Hu et al. 2021). `scale` is `alpha / rank`, with `rank_stabilized`
    `alpha / sqrt(rank)` (rsLoRA, Kalajdzievski 2023). With `dora`, the directions of W + scale B A
    get learned lengths, one an output, and the lengths that they have are no part of the gradient
    (DoRA, Liu et al. 2024). B begins at 0, so that a fresh adapter changes nothing. Agrees with
    PEFT's `LoraConfig`.

    `targets` are patterns of paths of `layers`: "^encoders_" is all of these kinds. Of a
    convolution, which must not be in groups, A is one with its strides and borders, and B one of
    size 1. Of an embedding A is a table, at 0 in the beginning in place of B, and has no dropout; a
    head that shares the embedding's table goes by it without the adapter until it is merged. Raises
    ConfigError for a rank below 1, or a dropout that is no share.
    """

    mergeable: ClassVar[bool] = True

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    """Of what A is given, in training."""
    targets: tuple[str, ...] = (r"^encoders_.*/(query|value)$",)
    rank_stabilized: bool = False
    dora: bool = False
    layers: tuple[Layer, ...] = ("dense",)

    def __post_init__(self) -> None:
        require_rank(self.rank)
        require_share("dropout", self.dropout)

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilized else self.rank)

    def fits(self, module: nn.Module) -> bool:
        return layer_of(module) in self.layers

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        # As nn.Linear of torch begins, which is what PEFT leaves A at.
        bound = 1 / math.sqrt(math.prod(site.inputs))
        shape = (*site.stacked, *site.inputs, self.rank)
        first = jax.random.uniform(key, shape, jnp.float32, -bound, bound)
        last = jnp.zeros((*site.stacked, self.rank, *site.outputs))
        if site.layer == "embedding":
            first, last = jnp.zeros(shape), jax.random.normal(key, last.shape)
        found = {
            "a": boxed(first, (*site.stacked_names, *site.input_names, None)),
            "b": boxed(last, (*site.stacked_names, None, *site.output_names)),
        }
        if self.dora:
            lengths = jnp.ones((*site.stacked, *site.outputs))
            found["scale"] = boxed(lengths, (*site.stacked_names, *site.output_names))
        return found

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        (given,) = args
        output = call(given, **kwargs)
        a, b = compute(module, values["a"], values["b"])
        inputs = a.ndim - 1
        table = layer_of(module) == "embedding"
        seen = given if table else dropped(module, given, self.dropout)
        added = self.scale * jnp.tensordot(with_weight(module, seen, a, inputs), b, 1)
        if not self.dora:
            return output + added.astype(output.dtype)
        own: Array | None = module.get_variable("params", "embedding" if table else "kernel")
        if own is None:
            raise ConfigError(
                109,
                "DoRA needs the kernel itself, which a quantised layer does not have",
                where="/".join(module.path),
                fix="dora=false, or leave it out of the targets of what quantises",
            )
        lengths = self._lengths(own, values["a"], values["b"])
        share = (values["scale"] / jax.lax.stop_gradient(lengths)).astype(output.dtype)
        if seen is given:
            bias: Array | None = module.get_variable("params", "bias")
            straight = output if bias is None else output - bias.astype(output.dtype)
        else:
            (kernel,) = compute(module, own)
            straight = with_weight(module, seen, kernel, inputs)
        return output + (share - 1) * straight + share * added.astype(output.dtype)

    def delta(self, kernel: Array, values: Values) -> Array:
        """What is added to the kernel, in float32; all may be stacked."""
        return self.scale * product(values["a"], values["b"], kernel)

    def _lengths(self, kernel: Array, a: Array, b: Array) -> Array:
        """The 2-norm of what each output is made with."""
        whole = jnp.asarray(kernel, jnp.float32) + self.scale * product(a, b, kernel)
        stacked = layers_of(a, b, kernel)
        return jnp.sqrt(jnp.square(whole).sum(range(stacked, a.ndim - 1)))

    @property
    def settles(self) -> bool:
        return self.dora

    def settle(self, base: Mapping[str, Array], values: Values) -> Values:
        lengths = self._lengths(base[weight_of(base)], values["a"], values["b"])
        return {**values, "scale": lengths.astype(values["scale"].dtype)}

    def merged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        name = weight_of(base)
        own = base[name]
        whole = jnp.asarray(own, jnp.float32) + self.delta(own, values)
        if self.dora:
            whole *= self._shares(own, values)
        return {**base, name: whole.astype(own.dtype)}

    def unmerged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        if self.dora:
            raise ConfigError(
                109,
                "the lengths that DoRA normalised are lost in merged weights",
                where=path,
                fix="keep the weights from before",
            )
        name = weight_of(base)
        own = base[name]
        whole = jnp.asarray(own, jnp.float32) - self.delta(own, values)
        return {**base, name: whole.astype(own.dtype)}

    def _shares(self, kernel: Array, values: Values) -> Array:
        """The learned over the found lengths, to be multiplied with the kernel."""
        a, b = values["a"], values["b"]
        stacked = layers_of(a, b, kernel)
        shares = values["scale"] / self._lengths(kernel, a, b)
        return jnp.expand_dims(shares, tuple(range(stacked, a.ndim - 1)))


def low_rank(values: Array, a: Array, b: Array) -> Array:
    """`values` through A and then B, of one layer."""
    return jnp.tensordot(jnp.tensordot(values, a, a.ndim - 1), b, 1)


def layers_of(a: Array, b: Array, kernel: Array) -> int:
    """How many axes of stacked layers stand before those of a layer."""
    return a.ndim + b.ndim - 2 - kernel.ndim


def product(a: Array, b: Array, kernel: Array) -> Array:
    """A times B in the shape of the kernel, in float32, of one layer or of stacked ones."""
    rank, stacked = a.shape[-1], layers_of(a, b, kernel)
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    flat = a.reshape(*a.shape[:stacked], -1, rank) @ b.reshape(*b.shape[:stacked], rank, -1)
    return flat.reshape(kernel.shape)


def require_rank(rank: int) -> None:
    if rank < 1:
        raise ConfigError(106, f"rank = {rank}", fix="expected 1 or more")


def require_share(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ConfigError(106, f"{name} = {value}", fix="expected 0 or more, less than 1")
