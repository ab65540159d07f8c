"""Guessing hidden tokens of a text, from the rest of it or from other modalities too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.types import ObjectiveOutput, Tokens
from mmjax.core.typing import Array, ArrayLike, Float
from mmjax.data.vocabulary import unpack
from mmjax.objectives.base import Context, Fields, Request, require_modalities
from mmjax.objectives.language import LanguageObjective
from mmjax.objectives.token_masking import HiddenTokens, mask_tokens, most_hidden

_TOKENIZERS = '"wordpiece" or "bpe", learnt from the data, or a tokenizer of masked models'


class MaskedLM(LanguageObjective, kw_only=True):
    """BERT's masked language model (Devlin et al. 2019) of the text `modality`.

    `share` of the tokens are hidden by the rules of `token_masking.mask_tokens`, or whole words
    with `whole_words`; in evaluation always the same ones of an example. The modalities in
    `visible` are seen through the model's fusion, as in ALBEF (Li et al. 2021), all others being
    hidden from it; with none, the text is alone. The head is BERT's: a dense layer, `gelu` and a
    norm (`transform`), then the encoder's own words (`tied`) or others, and a bias. Only hidden
    tokens get logits.
    """

    share: float = 0.15
    whole_words: bool = False
    visible: tuple[str, ...] = ()
    transform: bool = True

    batch_coupled: ClassVar[bool] = False

    @property
    def uses_fusion(self) -> bool:  # type: ignore[override]
        return bool(self.visible)

    @property
    def request(self) -> str:
        """Objectives that hide the same share share the forward."""
        unit = "words" if self.whole_words else "tokens"
        return f"{self.modality}/masked_lm_{self.share:g}_{unit}"

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        super().check(encoders)
        require_modalities(self.visible, tuple(encoders), "objectives.visible")
        if self.modality in self.visible or not 0.0 < self.share < 1.0:
            raise ConfigError(
                109,
                f"visible={self.visible} and share={self.share} of a MaskedLM of '{self.modality}'",
                where="objectives",
                fix="visible names other modalities, share lies between 0 and 1",
            )
        self.requests()

    def requests(self) -> dict[str, Request]:
        vocab_size = self.known("vocab_size")
        where = f"data.modalities.{self.modality}.tokenizer"
        mask_id = self.known("mask_id", f"set {where} to one with a mask token: {_TOKENIZERS}")
        special = tuple(self.known("special_ids"))
        starts = None
        if self.whole_words:
            fix = f"whole_words=False, or set {where}: {_TOKENIZERS}"
            starts = unpack(self.known("word_starts", fix), vocab_size)

        def corrupt(fields: Fields, keys: Array) -> tuple[Fields, Fields]:
            ids, hidden = mask_tokens(
                fields["input_ids"],
                fields["attention_mask"],
                keys,
                mask_id=mask_id,
                vocab_size=vocab_size,
                special_ids=special,
                share=self.share,
                word_starts=starts,
            )
            labels = {"places": hidden.places, "ids": hidden.ids, "mask": hidden.mask}
            return {**fields, "input_ids": ids}, labels

        return {self.request: Request(self.modality, corrupt)}

    def chances(self, fields: Mapping[str, ArrayLike]) -> Float[np.ndarray, "b n"]:
        """A row's count over its tokens that may be hidden, as if words were hidden by tokens."""
        mask = np.asarray(fields["attention_mask"], bool)
        special = np.array(self.known("special_ids"), np.int64)
        candidates = mask & ~np.isin(np.asarray(fields["input_ids"]), special)
        hidden = np.array([most_hidden(int(n), self.share) for n in mask.sum(axis=1)])
        found = candidates.sum(axis=1)
        return candidates * (np.minimum(hidden, found) / np.maximum(found, 1))[:, None]

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        hidden = HiddenTokens(**context.encoded[self.request].labels)
        values = self._values(context)
        length = jnp.shape(context.batch.inputs[self.modality]["input_ids"])[1]
        if values.shape[1] != length:
            raise ConfigError(
                109,
                f"the encoder of '{self.modality}' makes {values.shape[1]} tokens of {length} ids",
                where=f"model.encoders.{self.modality}",
                fix="masked LM wants an encoder with one token an id",
            )
        values = jnp.take_along_axis(values, hidden.places[..., None], axis=1)
        counts = hidden.mask & context.rows(self.request)[:, None]
        return self.guess(
            context, values, hidden.ids, counts, transform=self.transform, use_bias=True
        )

    def _values(self, context: Context) -> Float[Array, "b n d"]:
        """The states of all tokens, after the fusion if anything is visible."""
        own = context.tokens(self.request)
        if not self.visible:
            return own.values
        seen = {name: self._seen(context, name) for name in context.modalities}
        seen[self.modality] = own
        fused = context.fuse(seen)
        start, stop = fused.spans[self.modality]
        return fused.values[:, start:stop]

    def _seen(self, context: Context, name: str) -> Tokens:
        tokens = context.tokens(name)
        return tokens if name in self.visible else jax.tree.map(jnp.zeros_like, tokens)
