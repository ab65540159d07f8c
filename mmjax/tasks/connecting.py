"""Decoders that were made elsewhere, as a task has them: how fused tokens reach them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import Fused
from mmjax.core.typing import Dtype
from mmjax.encoders.causal_lm import CausalLM
from mmjax.generate.decoder import LinenDecoder
from mmjax.nn.dense import ACTIVATIONS, dense
from mmjax.tasks.writing import Seen

Connect = Literal["none", "linear", "mlp"]


class Connector(nn.Module, kw_only=True):
    """Fused tokens in the width of a decoder's words, by a dense layer (LLaVA, Liu et al. 2023) or
    by two with a GELU between (LLaVA 1.5, Liu et al. 2024).
    """

    kind: Connect
    width: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, fused: Fused) -> Fused:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        axes, values = ("embed", "joined"), fused.values
        values = dense(self.width, axes, name="layer_0", **types)(values)
        if self.kind == "mlp":
            values = dense(self.width, axes, name="layer_1", **types)(ACTIVATIONS["gelu"](values))
        return dataclasses.replace(fused, values=values)


@dataclasses.dataclass(frozen=True)
class Seeing(LinenDecoder):
    """A decoder that is decoded with `Seen` as its context."""

    def shown(self, context: Seen) -> tuple[Any, dict[str, Any]]:
        return context.get("context"), prefix_of(context)


def prefix_of(seen: Seen) -> dict[str, Any]:
    """The prefix as an argument, where there is one: not every decoder has it."""
    return {"prefix": seen["prefix"]} if "prefix" in seen else {}


def width_of(decoder: nn.Module) -> int | None:
    """The width that a decoder wants what it sees in; None where it takes any.

    Raises ConfigError for a module that decodes nothing.
    """
    if not hasattr(decoder, "decode"):
        raise ConfigError(
            109,
            f"{type(decoder).__name__} decodes no text",
            where="task.decode_with",
            fix="causal_lm, bart, t5, whisper or encoder_decoder",
        )
    return getattr(decoder, "width", None)


def require_fit(decoder: nn.Module, seen: Seen, *, prompted: bool) -> None:
    """Raises ConfigError where a decoder cannot see what it is shown."""
    causal = isinstance(decoder, CausalLM)
    what, fix = "", ""
    if not causal and ("prefix" in seen or prompted):
        what = f"{type(decoder).__name__} takes no prefix and no prompt"
        fix = "reads='context', or a causal_lm"
    elif causal and "context" in seen and not (decoder.cross_attention or decoder.gated_every):
        what = "the language model looks at nothing but words"
        fix = "reads='prefix', or decode_with.gated_every=1"
    if what:
        raise ConfigError(109, what, where="task.reads", fix=fix)
    width = width_of(decoder)
    gated = causal and not decoder.cross_attention
    for name, tokens in seen.items():
        own = tokens.values.shape[-1]
        if width is not None and own != width and not (gated and name == "context"):
            raise ConfigError(
                109,
                f"fused tokens of width {own}, and a decoder of {width}",
                where="task.connector",
                fix=f"connector='linear', or model.fusion.width={width}",
            )
