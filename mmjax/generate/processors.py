"""What is done to logits before a token is chosen, in transformers' order."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Float
from mmjax.generate.config import GenerationConfig
from mmjax.generate.penalties import (
    NEVER,
    no_bad_words,
    no_repeated_ngrams,
    repetition_penalty,
)
from mmjax.generate.state import Progress

Processor = Callable[[Progress, Float[Array, "b v"]], Float[Array, "b v"]]
"""New logits of each row's next token, given what it has; greedy search and sampling give logits in
float32, beam search log-probabilities."""


def make_processors(
    config: GenerationConfig, further: tuple[Processor, ...] = ()
) -> list[Processor]:
    """Those that the settings ask for, `further` behind them."""
    found: list[Processor] = []
    if config.repetition_penalty != 1.0:
        found.append(functools.partial(repetition_penalty, penalty=config.repetition_penalty))
    if config.no_repeat_ngram_size:
        found.append(functools.partial(no_repeated_ngrams, size=config.no_repeat_ngram_size))
    ends = {(token,) for token in config.eos_token_id}
    words = tuple(word for word in config.bad_words_ids if word not in ends)
    if words:
        found.append(functools.partial(no_bad_words, words=words))
    if config.eos_token_id:
        found.append(functools.partial(_long_enough, config=config))
    if config.forced_bos_token_id is not None:
        found.append(functools.partial(_forced_start, token=config.forced_bos_token_id))
    if config.forced_eos_token_id:
        found.append(functools.partial(_forced_end, tokens=config.forced_eos_token_id))
    if config.suppress_tokens:
        found.append(functools.partial(_suppressed, tokens=config.suppress_tokens))
    if config.begin_suppress_tokens:
        found.append(functools.partial(_suppressed_at_first, config=config))
    return [*found, *further]


def process(
    processors: list[Processor], progress: Progress, logits: Float[Array, "b v"]
) -> Float[Array, "b v"]:
    for one in processors:
        logits = one(progress, logits)
    return logits


def log_softmax(logits: Float[Array, "b v"]) -> Float[Array, "b v"]:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _set(logits: Array, tokens: tuple[int, ...], where: Array | bool, value: float) -> Array:
    index = jnp.asarray(tokens)
    old = logits[:, index]
    chosen = jnp.reshape(jnp.asarray(where), (-1, 1))
    return logits.at[:, index].set(jnp.where(chosen, value, old))


def _long_enough(progress: Progress, logits: Array, config: GenerationConfig) -> Array:
    early = progress.count < progress.limits.least
    return _set(logits, config.eos_token_id, early, NEVER)


def _only(logits: Array, tokens: tuple[int, ...], where: Array) -> Array:
    """Nothing but `tokens`, at a log-probability of 0."""
    forced = jnp.full_like(logits, NEVER).at[:, jnp.asarray(tokens)].set(0.0)
    return jnp.where(where[:, None], forced, logits)


def _forced_start(progress: Progress, logits: Array, token: int) -> Array:
    return _only(logits, (token,), progress.lengths == 1)


def _forced_end(progress: Progress, logits: Array, tokens: tuple[int, ...]) -> Array:
    return _only(logits, tokens, progress.count == progress.limits.most - 1)


def _suppressed(progress: Progress, logits: Array, tokens: tuple[int, ...]) -> Array:
    return _set(logits, tokens, True, NEVER)


def _suppressed_at_first(progress: Progress, logits: Array, config: GenerationConfig) -> Array:
    """A beginning that is forced is passed over."""
    forced = config.forced_bos_token_id is not None
    begin = jnp.where((progress.limits.prompt == 1) & forced, 1, 0)
    return _set(logits, config.begin_suppress_tokens, progress.count == begin, NEVER)
