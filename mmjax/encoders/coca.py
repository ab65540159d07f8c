"""The text tower of CoCa."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Tokens
from mmjax.core.typing import ArrayLike, Bool, Int
from mmjax.encoders.causal_lm import CausalEncoder, CausalSettings
from mmjax.encoders.seq2seq import settings_of, valid


class CocaText(CausalSettings, kw_only=True):
    """CoCa's unimodal text layers (Yu et al. 2022, section 3.2): causal, with a class token.

    The class token stands behind the words, so it sees all of them and none of them sees it: a
    decoder goes on from the words' tokens (`captioning` with `decoder_on="tokens"`), a contrastive
    loss takes `pooled`, the class token's output. Its position is the last one, however far a batch
    is padded.
    """

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        ids = jnp.asarray(input_ids)
        mask = valid(attention_mask, ids)
        rows, length = ids.shape
        # The class token is one more word, with one more position.
        settings = settings_of(self, CausalEncoder)
        settings |= {"vocab_size": self.vocab_size + 1, "max_length": self.max_length + 1}
        last = jnp.full((rows, 1), self.vocab_size, ids.dtype)
        places = jnp.append(jnp.arange(length), self.max_length)[None]
        found = CausalEncoder(**settings, name="layers")(
            jnp.concatenate([ids, last], axis=1),
            jnp.concatenate([mask, jnp.ones((rows, 1), bool)], axis=1),
            position_ids=places,
            train=train,
        )
        return Tokens(found.values[:, :-1], mask, found.values[:, -1])
