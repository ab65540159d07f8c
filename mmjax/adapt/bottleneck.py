"""Bottleneck adapters: Houlsby, Pfeiffer, parallel."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.adapt.base import Adapter, Site, boxed, compute, dropped
from mmjax.adapt.lora import require_rank, require_share
from mmjax.core.typing import Array
from mmjax.nn.dense import ACTIVATIONS, Activation

_TARGETS = {
    "houlsby": r"/(attention|self_attention|cross_attention|mlp)$",
    "pfeiffer": r"/mlp$",
    "parallel": r"/mlp$",
}


@dataclasses.dataclass(frozen=True)
class Bottleneck(Adapter):
    """Down to `width`, an activation, up again, and a residual around it, behind a module.

    `form` says where: "houlsby" behind attentions and MLPs (Houlsby et al. 2019), "pfeiffer" behind
    MLPs (Pfeiffer et al. 2021), "parallel" beside MLPs, on what they are given, times `scale` (He
    et al. 2022). `within` are patterns of what is adapted; `targets` that are given are taken as
    they are. The way up begins at 0, so that a fresh adapter changes nothing.
    """

    form: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    width: int = 64
    scale: float = 1.0
    activation: Activation = "relu"
    dropout: float = 0.0
    """Of what the way down is given, in training."""
    within: tuple[str, ...] = ("^encoders_",)
    targets: tuple[str, ...] = ()

    names: ClassVar[tuple[str, ...]] = ("down", "up")

    def __post_init__(self) -> None:
        require_rank(self.width)
        require_share("dropout", self.dropout)

    def finds(self, path: str) -> bool:
        if self.targets:
            return super().finds(path)
        inside = any(re.search(pattern, path) for pattern in self.within)
        return inside and bool(re.search(_TARGETS[self.form], path))

    def fits(self, module: nn.Module) -> bool:
        return True

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        (before,), (after,) = site.inputs, site.outputs
        before = before if self.form == "parallel" else after
        layers, names = site.stacked, site.stacked_names
        down = 0.02 * jax.random.normal(key, (*layers, before, self.width))
        return {
            "down": {
                "kernel": boxed(down, (*names, "embed", None)),
                "bias": boxed(jnp.zeros((*layers, self.width)), (*names, None)),
            },
            "up": {
                "kernel": boxed(jnp.zeros((*layers, self.width, after)), (*names, None, "embed")),
                "bias": boxed(jnp.zeros((*layers, after)), (*names, "embed")),
            },
        }

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        output = call(*args, **kwargs)
        given = args[0] if self.form == "parallel" else output
        hidden = dropped(module, given, self.dropout)
        for name in self.names:
            kernel, bias = compute(module, values[name]["kernel"], values[name]["bias"])
            hidden = hidden @ kernel + bias
            if name == "down":
                hidden = ACTIVATIONS[self.activation](hidden)
        return output + self.scale * hidden.astype(output.dtype)
