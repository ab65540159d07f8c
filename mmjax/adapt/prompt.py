"""Learned tokens before those of a transformer: prompt tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.adapt.base import Adapter, Site, boxed, compute
from mmjax.adapt.lora import require_rank
from mmjax.adapt.prefix import with_more_keys, with_tokens
from mmjax.core.typing import Array
from mmjax.nn.transformer import Transformer

_ARGUMENTS = ("values", "mask", "context", "context_mask", "bias")
"""Of a transformer's call, in their order."""


@dataclasses.dataclass(frozen=True)
class Prompt(Adapter):
    """`count` learned tokens before those of a transformer's first layer.

    They are taken off again behind the last (VPT-shallow, Jia et al. 2022; for texts as prompt
    tuning, Lester et al. 2021, without positions). Queries of rows in which nothing is valid do not
    see them: a missing modality stays missing.
    """

    count: int = 8
    stddev: float = 0.02
    targets: tuple[str, ...] = (r"^encoders_[^/]*/(.*/)?transformer$",)

    def __post_init__(self) -> None:
        require_rank(self.count)

    def fits(self, module: nn.Module) -> bool:
        return isinstance(module, Transformer)

    def create(self, site: Site, key: Array) -> dict[str, Any]:
        tokens = self.stddev * jax.random.normal(key, (*site.stacked, self.count, *site.inputs))
        return {"tokens": boxed(tokens, (*site.stacked_names, None, "embed"))}

    def __call__(
        self, call: Callable[..., Any], module: nn.Module, values: Any, *args: Any, **kwargs: Any
    ) -> Any:
        (first,) = compute(module, values["tokens"])
        given = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
        given["values"] = with_tokens(given["values"], first)
        mask, bias = given.get("mask"), given.get("bias")
        if mask is not None:
            longer = with_more_keys(mask, self.count)
            # A mask of each query has a row for the new ones, which see what any other does.
            if longer.ndim == 4 and longer.shape[2] > 1:
                seen = longer.any(axis=2, keepdims=True)
                new = jnp.broadcast_to(seen, (*longer.shape[:2], self.count, longer.shape[3]))
                longer = jnp.concatenate([new, longer], axis=2)
            given["mask"] = longer
        if bias is not None:
            queries = self.count if bias.shape[2] > 1 else 0
            given["bias"] = jnp.pad(bias, ((0, 0), (0, 0), (queries, 0), (self.count, 0)))
        return call(**given)[:, self.count :]
