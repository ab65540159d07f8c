"""ModernBERT: rotary positions, gated MLPs, and windows in all but every few layers."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.nn.dense import embedding
from mmjax.nn.lm_block import Layer, LMBlock, Places
from mmjax.nn.pooling import masked_mean
from mmjax.nn.rotary import rotary_frequencies
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import NORMS, NormKind

_EVERYWHERE = np.iinfo(np.int32).max


class ModernBert(TransformerEncoder, kw_only=True):
    """ModernBERT (Warner et al. 2024), with the parameters of transformers' `ModernBertModel`.

    Layers 0, `global_every`, 2 `global_every`, ... see all tokens, the others those at most
    `window` / 2 places away, with rotary frequencies of their own. The first block takes the
    normalised words as they are. `pooled` is the first token or the mean.
    """

    vocab_size: int = fact()
    eps: float = 1e-5
    norm_kind: NormKind = "layer_unbiased"
    use_bias: bool | tuple[str, ...] = False
    mlp_bias: bool = False
    global_every: int = 3
    window: int = 128
    global_base: float = 160000.0
    local_base: float = 10000.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    embeddings_dropout: float = 0.0
    mlp_dropout: float = 0.0
    pooling: Literal["first", "mean"] = "first"

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"],
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        mask = jnp.asarray(attention_mask, bool)
        places = jnp.arange(mask.shape[1])
        positions = places[None] if position_ids is None else jnp.asarray(position_ids)
        seen = Places(
            mask[:, None, None, :], jnp.abs(places[:, None] - places), positions=positions
        )
        values = embedding(self.vocab_size, self.width, name="words", **self.types())(
            jnp.asarray(input_ids)
        )
        values = self._norm("embeddings_norm")(values)
        values = nn.Dropout(self.embeddings_dropout, deterministic=not train)(values)
        values = self._blocks("first", slice(0, 1), values, seen, train)
        if self.depth > 1:
            values = self._blocks("stack", slice(1, None), values, seen, train)
        values = self._norm("norm")(values)
        pooled = values[:, 0] if self.pooling == "first" else masked_mean(values, mask)
        return Tokens(values, mask, jnp.where(mask.any(axis=1)[:, None], pooled, 0))

    def _norm(self, name: str) -> nn.Module:
        return NORMS[self.norm_kind](name=name, eps=self.eps, **self.types())

    def _blocks(self, name: str, which: slice, values: Array, places: Places, train: bool) -> Array:
        own = {
            "norm_kind": self.norm_kind,
            "gated": True,
            "mlp_bias": self.mlp_bias,
            "mlp_dropout": self.mlp_dropout,
            "input_normed": name == "first",
        }
        rows = jax.tree.map(lambda array: array[which], self._layers())
        stack = Stack(
            block=LMBlock,
            settings={**self.block_settings(), **own},
            depth=len(range(self.depth)[which]),
            scan=self.scan,
            remat=self.remat,
            name=name,
        )
        return stack(values, places, layerwise=(rows,), train=train)

    def _layers(self) -> Layer:
        sees_all = np.arange(self.depth) % self.global_every == 0
        dim = self.width // self.heads
        frequencies = np.where(
            sees_all[:, None],
            rotary_frequencies(dim, self.global_base),
            rotary_frequencies(dim, self.local_base),
        )
        window = np.where(sees_all, _EVERYWHERE, self.window // 2 + 1)
        return Layer(window=jnp.asarray(window, jnp.int32), frequencies=jnp.asarray(frequencies))
