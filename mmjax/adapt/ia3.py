"""Learned gains on what dense layers give or take: IA3."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from mmjax.adapt.base import Adapter, Names, Site, Values, boxed, compute, is_dense
from mmjax.core.typing import Array


@dataclasses.dataclass(frozen=True)
class IA3(Adapter):
    """IA3: learned gains on the outputs of dense layers, or on their inputs.

    Those of inputs where `feedforward` finds the path (Liu et al. 2022). Gains begin at 1. Agrees
    with PEFT's `IA3Config`. By default those of keys, values, and of what the MLP's second layer is
    given.
    """

    mergeable: ClassVar[bool] = True

    targets: tuple[str, ...] = (r"^encoders_.*/(key|value|mlp/down)$",)
    feedforward: tuple[str, ...] = (r"/down$",)

    def fits(self, module: nn.Module) -> bool:
        return is_dense(module)

    def _of_inputs(self, path: str) -> bool:
        return any(re.search(pattern, path) for pattern in self.feedforward)

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        # With axes of 1 for the other side, gains spread over the kernel, stacked or not.
        inputs, outputs = site.inputs, site.outputs
        names: Names = (*site.input_names, *site.output_names)
        if self._of_inputs(site.path):
            outputs = (1,) * len(outputs)
        else:
            inputs = (1,) * len(inputs)
        gains = jnp.ones((*site.stacked, *inputs, *outputs))
        return {"scale": boxed(gains, (*site.stacked_names, *names))}

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        (given,) = args
        (gains,) = compute(module, values["scale"])
        if self._of_inputs("/".join(module.path)):
            axes = getattr(module, "axis", -1)
            count = len(axes) if isinstance(axes, tuple) else 1
            return call(given * gains.reshape(gains.shape[:count]).astype(given.dtype), **kwargs)
        output = call(given, **kwargs)
        # The axes of what it is given are 1, and none is left of them.
        own = gains.reshape(output.shape[output.ndim - _outputs(module) :])
        return output * own.astype(output.dtype)

    def merged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        return self._times(path, base, values["scale"])

    def unmerged(self, path: str, base: Mapping[str, Array], values: Values) -> dict[str, Array]:
        return self._times(path, base, 1.0 / values["scale"])

    def _times(self, path: str, base: Mapping[str, Array], gains: Array) -> dict[str, Array]:
        kernel, bias = base["kernel"], base.get("bias")
        found = {**base, "kernel": (kernel * gains).astype(kernel.dtype)}
        if bias is not None and not self._of_inputs(path):
            found["bias"] = (bias * gains.reshape(bias.shape)).astype(bias.dtype)
        return found


def _outputs(module: nn.Module) -> int:
    """How many axes a dense layer makes."""
    features = module.features
    return 1 if isinstance(features, int) else len(features)
