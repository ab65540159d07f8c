"""ALBERT: a text transformer whose layers share their parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from mmjax.core.typing import Array, Bool, Float
from mmjax.encoders.text_transformer import TextTransformer
from mmjax.nn.dense import Activation
from mmjax.nn.stack import Remat, Stack
from mmjax.nn.transformer import Block, BlockSettings


class InnerBlocks(nn.Module, kw_only=True):
    """The blocks of one group, in a row."""

    settings: Mapping[str, Any]
    depth: int

    @nn.compact
    def __call__(self, values: Array, mask: Array, *, train: bool) -> Array:
        stack = Stack(block=Block, settings=self.settings, depth=self.depth, name="stack")
        return stack(values, mask, train=train)


class SharedTransformer(BlockSettings, kw_only=True):
    """`depth` layers in `groups` runs; those of a run are the same `inner` blocks, repeated.

    Layer i belongs to run `int(i / (depth / groups))`, as in transformers.
    """

    depth: int
    groups: int = 1
    inner: int = 1
    scan: bool = False
    remat: Remat = "none"

    @nn.compact
    def __call__(
        self, values: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        names = {field.name for field in dataclasses.fields(BlockSettings)} - {"parent", "name"}
        settings = {name: getattr(self, name) for name in sorted(names)}
        runs = [int(layer / (self.depth / self.groups)) for layer in range(self.depth)]
        for group in range(self.groups):
            stack = Stack(
                block=InnerBlocks,
                settings={"settings": settings, "depth": self.inner},
                depth=runs.count(group),
                scan=self.scan,
                remat=self.remat,
                shared=True,
                name=f"group_{group}",
            )
            values = stack(values, mask, train=train)
        return values


class Albert(TextTransformer, kw_only=True):
    """ALBERT (Lan et al. 2020): narrow embeddings, projected, and layers shared within `groups`.

    Its parameters are those of transformers' `AlbertModel`, one for one: `inner` is its
    `inner_group_num`.
    """

    embedding_width: int | None = 128
    activation: Activation = "gelu_tanh"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    groups: int = 1
    inner: int = 1

    def transformer(self, *, name: str = "transformer", **settings: Any) -> nn.Module:
        return SharedTransformer(
            **self.block_settings(),
            **settings,
            depth=self.depth,
            groups=self.groups,
            inner=self.inner,
            scan=self.scan,
            remat=self.remat,
            name=name,
        )
