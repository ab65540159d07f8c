"""An encoder of texts over windows of a long one."""

from __future__ import annotations

import einops
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec, fact
from mmjax.core.types import Tokens
from mmjax.core.typing import ArrayLike, Bool, Dtype, Int
from mmjax.encoders import EncoderSpec, registry
from mmjax.nn.pooling import masked_mean


class TextWindows(nn.Module, kw_only=True):
    """The encoder `text` over windows of `length` tokens, each `stride` behind the one before.

    As BERT reads the contexts of SQuAD (Devlin et al. 2019, their run_squad): every window begins
    with the text's first token ([CLS]), and a token's values are those of the window in which it
    has the most context on its poorer side. All tokens of the text stand in `values`, in their
    order, so that one softmax runs over them; `pooled` is the mean of the windows'. Positions begin
    anew in each window. A text of `length` tokens or fewer is one window.
    """

    text: EncoderSpec = Spec("text_transformer")
    length: int = 384
    stride: int = 128
    vocab_size: int = fact()
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    def setup(self) -> None:
        if not 1 <= self.stride < self.length - 1:
            raise ConfigError(
                109,
                f"windows of {self.length} tokens with a stride of {self.stride}",
                where="encoder text_windows",
                fix="a stride of 1 or more, and two tokens below the length at the most",
            )
        facts = {
            "vocab_size": self.vocab_size,
            "max_length": self.length,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        self.text_encoder = registry.build(self.text, facts=facts)

    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"],
        *,
        train: bool,
    ) -> Tokens:
        ids, mask = jnp.asarray(input_ids), jnp.asarray(attention_mask, bool)
        count = ids.shape[1]
        if count <= self.length:
            return self.text_encoder(input_ids=ids, attention_mask=mask, train=train)
        places = windows(count, self.length, self.stride)
        window, place = most_context(places, count)
        inside = jnp.asarray(places < count)
        at = np.minimum(places, count - 1)
        parts = mask[:, at] & inside
        flat = {
            "input_ids": einops.rearrange(jnp.where(parts, ids[:, at], 0), "b w l -> (b w) l"),
            "attention_mask": einops.rearrange(parts, "b w l -> (b w) l"),
        }
        found = self.text_encoder(**flat, train=train)
        values = einops.rearrange(found.values, "(b w) l d -> b w l d", b=len(ids))
        pooled = einops.rearrange(found.pooled, "(b w) d -> b w d", b=len(ids))
        # A window that has the first token alone is of none of the text's words.
        some = parts[:, :, 1:].any(axis=2).at[:, 0].set(mask.any(axis=1))
        return Tokens(values[:, window, place], mask, masked_mean(pooled, some))


def windows(count: int, length: int, stride: int) -> Int[np.ndarray, "w l"]:
    """The places of the tokens of each window; some of the last are `count` or more."""
    starts = np.arange(0, count - length + stride, stride)
    places = starts[:, None] + np.arange(length)
    places[:, 0] = 0
    return places


def most_context(
    places: Int[np.ndarray, "w l"], count: int
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Of each token the window to take it from, and its place there."""
    context = np.full((len(places), count), -1)
    for window, own in enumerate(places):
        left = np.arange(1, len(own))
        right = np.minimum(len(own) - 1, np.searchsorted(own[1:], count)) - left
        here = own[1:] < count
        context[window, own[1:][here]] = np.minimum(left, right)[here]
    context[0, 0] = 0
    window = np.argmax(context, axis=0)
    place = np.arange(count) - np.concatenate([[0], places[1:, 1] - 1])[window]
    return window, place
