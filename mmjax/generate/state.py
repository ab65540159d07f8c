"""What both searches share: the tokens so far, the limits of each row, and when one ends."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.generate.config import GenerationConfig


@struct.dataclass
class Limits:
    """Of each row: the tokens of its prompt, how many new ones it may have, and must, and what
    logits are divided by before a draw (the settings' temperature if None).
    """

    prompt: Int[ArrayLike, "b"]
    most: Int[ArrayLike, "b"]
    least: Int[ArrayLike, "b"]
    temperature: Float[ArrayLike, "b"] | None = None

    def repeated(self, times: int) -> Limits:
        return jax.tree.map(lambda one: jnp.repeat(one, times, axis=0), self)


@struct.dataclass
class Progress:
    """Rows of tokens: prompts end at the same slot, new tokens are behind.

    Of the slots, those before `slot` are filled; `valid` is False for the padding before a prompt.
    `count` new tokens are there.
    """

    tokens: Int[Array, "b s"]
    valid: Bool[Array, "b s"]
    slot: Int[Array, ""]
    count: Int[Array, ""]
    limits: Limits

    @property
    def lengths(self) -> Int[Array, "b"]:
        """Tokens of each row so far, prompt included."""
        return jnp.asarray(self.limits.prompt) + self.count

    @property
    def known(self) -> Bool[Array, "b s"]:
        return self.valid & (jnp.arange(self.tokens.shape[1]) < self.slot)


def ends(
    config: GenerationConfig, tokens: Int[Array, "b s"], slot: Array, count: Array, most: ArrayLike
) -> Bool[Array, "b"]:
    """Whether the new token in `slot`, the `count`-th, is a row's last."""
    new = jax.lax.dynamic_index_in_dim(tokens, slot, axis=1, keepdims=False)
    found = count >= most
    for token in config.eos_token_id:
        found |= new == token
    for sequence in config.stop_sequences:
        start = slot + 1 - len(sequence)
        tail = jax.lax.dynamic_slice_in_dim(tokens, start, len(sequence), axis=1)
        found |= (tail == jnp.asarray(sequence)).all(axis=1) & (count >= len(sequence))
    return found
