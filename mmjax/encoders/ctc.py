"""Any encoder with a head that spells: connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import Spec, fact
from mmjax.core.types import Decoded
from mmjax.core.typing import ArrayLike, Dtype
from mmjax.encoders import EncoderSpec, registry
from mmjax.nn.dense import dense


class CTC(nn.Module, kw_only=True):
    """Logits of a symbol, or of the blank, for each token of an encoder (Graves et al. 2006).

    With wav2vec 2.0 and its kin those of transformers' `Wav2Vec2ForCTC`, whose blank is the
    vocabulary's padding. Takes the encoder's fields; `tokens` of what it returns are the encoder's,
    whose mask says which logits count.
    """

    tower: EncoderSpec = Spec("wav2vec2")
    vocab_size: int = fact()
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.encoder = registry.build(self.tower, facts=types)
        self.drop = nn.Dropout(self.dropout)
        self.head = dense(self.vocab_size, ("embed", "vocab"), name="head", **types)

    def __call__(self, *, train: bool, **fields: ArrayLike | None) -> Decoded:
        tokens = self.encoder(**fields, train=train)
        values = self.drop(tokens.values, deterministic=not train)
        return Decoded(self.head(values), tokens)
