"""What the attention-level fusions share: settings, transformers, and summaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, Bool, Dtype, Float
from mmjax.fusion.base import by_name, present
from mmjax.nn.dense import dense, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import masked_mean
from mmjax.nn.stack import Remat, Stack
from mmjax.nn.transformer import Activation, Transformer


class AttentionFusion(nn.Module, kw_only=True):
    """Blocks of `heads` and `mlp_dim` that normalise first, `depth` in a row.

    `dropout` is that of each branch and of the summaries, `attention_dropout` that of the attention
    weights. `scan` compiles one block for all, `remat` says what the backward pass computes again.
    """

    level: ClassVar[str] = "attention"

    width: int = 256
    heads: int = 4
    depth: int = 1
    mlp_dim: int = 512
    activation: Activation = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    scan: bool = False
    remat: Remat = "none"
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def types(self) -> dict[str, Dtype]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def block_settings(self) -> dict[str, Any]:
        return {
            "heads": self.heads,
            "mlp_dim": self.mlp_dim,
            "activation": self.activation,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            **self.types(),
        }

    def transformer(self, name: str, **options: Any) -> Transformer:
        """A transformer with the settings of the fusion, but for `options`."""
        loop = {"depth": self.depth, "scan": self.scan, "remat": self.remat}
        return Transformer(**{**self.block_settings(), **loop, **options}, name=name)

    def stack(self, block: type[nn.Module], *, depth: int | None = None) -> Stack:
        """`depth` blocks of a type that takes `settings`, those of the blocks within it."""
        return Stack(
            block=block,
            settings={"settings": self.block_settings()},
            depth=self.depth if depth is None else depth,
            scan=self.scan,
            remat=self.remat,
            name="stack",
        )

    def norm(self, name: str) -> nn.Module:
        return layer_norm(name=name, eps=1e-6, **self.types())

    def learned(self, name: str, count: int) -> Float[Array, "n d"]:
        """Learned tokens of the width of the fusion."""
        return parameter(
            self,
            name,
            (count, self.width),
            ("tokens", "embed"),
            init=nn.initializers.normal(0.02),
            **self.types(),
        )

    def join_summaries(self, tokens: Mapping[str, Tokens], *, train: bool) -> Float[Array, "b d"]:
        """The modalities' summaries, concatenated in the order of their names and projected.

        A modality's is its projected `pooled` plus the mean of its tokens, 0 where it is absent.
        """
        summaries = [
            jnp.where(present(one)[:, None], one.pooled + masked_mean(one.values, one.mask), 0)
            for one in map(tokens.__getitem__, by_name(tokens))
        ]
        pooled = jnp.concatenate(summaries, axis=-1)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return dense(self.width, ("embed", "joined"), name="out", **self.types())(pooled)


def refuse_name(tokens: Mapping[str, Tokens], name: str) -> None:
    """Raises ConfigError if a modality has the name of the fusion's own tokens."""
    if name in tokens:
        raise ConfigError(
            109,
            f"a modality is called '{name}', as the fusion's own tokens are",
            where="model.encoders",
            fix=f"another name for the modality, such as 'the_{name}'",
        )


def with_values(one: Tokens, values: Float[Array, "b n d"]) -> Tokens:
    """The modality with other values, 0 at padding."""
    return dataclasses.replace(one, values=jnp.where(one.mask[..., None], values, 0))


def mean_summary(tokens: Mapping[str, Tokens]) -> Float[Array, "b d"]:
    """The mean of the projected `pooled` of a row's present modalities."""
    pooled = jnp.stack([one.pooled for one in tokens.values()], axis=1)
    return masked_mean(pooled, jnp.stack([present(one) for one in tokens.values()], axis=1))


def somewhere(tokens: Mapping[str, Tokens], count: int) -> Bool[Array, "b n"]:
    """The mask of `count` learned tokens: valid in rows that have a modality."""
    found = jnp.stack([present(one) for one in tokens.values()], axis=1).any(axis=1)
    return jnp.repeat(found[:, None], count, axis=1)
