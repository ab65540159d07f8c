"""A bag of subwords: the mean of their vectors."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import ArrayLike, Bool, Dtype, Int
from mmjax.nn.dense import embedding
from mmjax.nn.pooling import masked_mean


class BagOfSubwords(nn.Module, kw_only=True):
    """Word and subword vectors, pooled (fastText, Joulin et al. 2017).

    `combiner="mean"` averages them, `"sqrtn"` divides their sum by the square root of their number,
    which keeps its variance whatever the length. `token_dropout` leaves out whole subwords during
    training, `dropout` single channels of the pooled vector. Tokens are the vectors themselves.
    """

    vocab_size: int = fact()
    width: int = 256
    token_dropout: float = 0.0
    dropout: float = 0.0
    combiner: Literal["mean", "sqrtn"] = "mean"
    init_stddev: float = 0.1
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"],
        *,
        train: bool,
    ) -> Tokens:
        mask = jnp.asarray(attention_mask, bool)
        values = embedding(
            self.vocab_size,
            self.width,
            stddev=self.init_stddev,
            name="subwords",
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )(input_ids)
        kept = mask
        if train and self.token_dropout > 0.0:
            key = self.make_rng("dropout")
            kept = mask & jax.random.bernoulli(key, 1.0 - self.token_dropout, mask.shape)
        pooled = masked_mean(values, kept)
        if self.combiner == "sqrtn":
            pooled *= jnp.sqrt(kept.sum(axis=1, keepdims=True)).astype(pooled.dtype)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return Tokens(values, mask, pooled)
