"""Learned keys and values before those of an attention: prefix tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.adapt.base import Adapter, Site, behind, boxed, compute
from mmjax.adapt.lora import require_rank
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Bool, Float
from mmjax.nn.attention import Attention
from mmjax.nn.cache import caching


@dataclasses.dataclass(frozen=True)
class Prefix(Adapter):
    """`count` keys and values of its own in each attention, without positions (Li & Liang 2021).

    Every query may look at them, but for those of rows in which nothing is valid: a missing
    modality stays missing. As PEFT's `PrefixTuningConfig` without a projection; a fresh prefix does
    change what the model returns.
    """

    count: int = 8
    stddev: float = 0.02
    targets: tuple[str, ...] = (r"^encoders_.*/(attention|self_attention)$",)

    def __post_init__(self) -> None:
        require_rank(self.count)

    def fits(self, module: nn.Module) -> bool:
        return isinstance(module, Attention)

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        assert site.heads is not None
        width = site.outputs[0]
        shape = (*site.stacked, self.count, site.heads, width // site.heads)
        names = (*site.stacked_names, None, "heads", "head_dim")
        draw = jax.random.normal
        return {
            part: boxed(self.stddev * draw(jax.random.fold_in(key, index), shape), names)
            for index, part in enumerate(("key", "value"))
        }

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        context = args[1] if len(args) > 1 else kwargs.get("context")
        if isinstance(context, (tuple, list)) or caching(module):
            raise ConfigError(
                109,
                "a prefix before several segments, or in a decoder that keeps its cache",
                where="/".join(module.path),
                fix="leave it out of adapt.*.targets",
            )
        mask, bias = kwargs.get("mask"), kwargs.get("bias")
        if mask is not None:
            kwargs["mask"] = with_more_keys(mask, self.count)
        if bias is not None:
            kwargs["bias"] = jnp.pad(bias, ((0, 0),) * 3 + ((self.count, 0),))
        key, value = compute(module, values["key"], values["value"])
        own = {"key": key, "value": value}

        def longer(inner: nn.Module, found: Any) -> Any:
            if inner.parent is not module or inner.name not in own:
                return found
            first = jnp.broadcast_to(own[inner.name], (found.shape[0], *own[inner.name].shape))
            return jnp.concatenate([first.astype(found.dtype), found], axis=1)

        with behind(longer):
            return call(*args, **kwargs)


def with_more_keys(
    mask: Bool[Array, "b m"] | Bool[Array, "#b #k #n m"], count: int
) -> Bool[Array, "..."]:
    """The mask of keys with `count` more before them, valid where any other is."""
    found = jnp.broadcast_to(mask.any(axis=-1, keepdims=True), (*mask.shape[:-1], count))
    return jnp.concatenate([found, mask], axis=-1)


def with_tokens(values: Float[Array, "b n d"], first: Float[Array, "p d"]) -> Float[Array, "b _ d"]:
    """The tokens of each row with the same ones before them."""
    tokens = jnp.broadcast_to(first, (values.shape[0], *first.shape)).astype(values.dtype)
    return jnp.concatenate([tokens, values], axis=1)
