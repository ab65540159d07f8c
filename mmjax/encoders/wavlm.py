"""WavLM: wav2vec 2.0 with gated relative positions."""

from __future__ import annotations

from typing import Any

import einops
import jax
from flax import linen as nn

from mmjax.core.typing import Array, Float
from mmjax.encoders.wav2vec2 import Wav2Vec2
from mmjax.nn.dense import dense, parameter
from mmjax.nn.relative_bias import RelativeBias
from mmjax.nn.transformer import Block


class GatedBlock(Block, kw_only=True):
    """A block that scales its attention's bias by gates of each head's part of the query's input.

    With a and b sigmoids of linear maps of that part and c learned, the bias of a query is
    multiplied by `a (b c - 1) + 2` (Chen et al. 2022, section 3.1).
    """

    def bias_of(
        self, values: Float[Array, "b n d"], bias: Float[Array, "#b #k #n n"] | None
    ) -> Float[Array, "#b #k #n n"] | None:
        if bias is None:
            return None
        parts = einops.rearrange(values, "b n (k h) -> b k n h", k=self.heads)
        logits = dense(8, ("head_dim", "features"), name="gate", **self.types())(parts)
        gates = jax.nn.sigmoid(
            einops.reduce(logits, "b k n (gate four) -> b k n gate", "sum", four=4)
        )
        scale = parameter(
            self,
            "gate_scale",
            (self.heads,),
            ("heads",),
            init=nn.initializers.ones,
            **self.types(),
        )
        first, second = gates[..., :1], gates[..., 1:]
        return bias * (first * (second * scale[:, None, None] - 1.0) + 2.0)


class WavLM(Wav2Vec2, kw_only=True):
    """WavLM (Chen et al. 2022): as `Wav2Vec2`, and a bias for each binned distance of two frames.

    The bins are T5's, the same for all layers, whose gates scale them. Its parameters are those of
    transformers' `WavLMModel`, one for one.
    """

    buckets: int = 320
    longest: int = 800

    def blocks(self, values: Array, mask: Array, *, train: bool) -> Array:
        bias = RelativeBias(
            heads=self.heads,
            buckets=self.buckets,
            longest=self.longest,
            name="relative_bias",
            **self.types(),
        )(values.shape[1])
        gated: Any = self.transformer(block=GatedBlock, **self.block_options())
        return gated(values, mask, bias=bias, train=train)
