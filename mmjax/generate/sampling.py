"""Greedy search and sampling: one new token for each row."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.generate.config import GenerationConfig
from mmjax.generate.processors import Processor, log_softmax, process
from mmjax.generate.state import Limits, Progress, ends
from mmjax.generate.stops import Stops
from mmjax.generate.warpers import warp


@struct.dataclass
class Sampled:
    """Rows of tokens while they grow; `valid` and the limits do not change."""

    tokens: Int[Array, "b s"]
    slot: Int[Array, ""]
    count: Int[Array, ""]
    done: Bool[Array, "b"]
    lengths: Int[Array, "b"]
    """New tokens of each row, its end included."""
    scores: Float[Array, "b n"]
    """The log-probability of each new token, where it is asked for."""
    key: Array
    stopping: Int[Array, "b"]
    """How much of a string that ends a row is there (`stops.Stops`)."""

    @property
    def newest(self) -> Int[Array, "b 1"]:
        return jax.lax.dynamic_slice_in_dim(self.tokens, self.slot - 1, 1, axis=1)

    @property
    def going(self) -> Bool[Array, ""]:
        return ~self.done.all()


def start(
    tokens: Int[Array, "b s"],
    slot: int,
    new: int,
    key: Array,
    config: GenerationConfig,
    stops: Stops | None,
) -> Sampled:
    rows = tokens.shape[0]
    return Sampled(
        tokens=tokens,
        slot=jnp.asarray(slot, jnp.int32),
        count=jnp.asarray(0, jnp.int32),
        done=jnp.zeros(rows, bool),
        lengths=jnp.zeros(rows, jnp.int32),
        scores=jnp.zeros((rows, new if config.output_scores else 0), jnp.float32),
        key=jax.random.fold_in(key, 0),
        stopping=jnp.zeros(rows, jnp.int32) if stops is None else jnp.asarray(stops.at),
    )


def choose(
    state: Sampled,
    logits: Float[Array, "b v"],
    valid: Bool[Array, "b s"],
    limits: Limits,
    config: GenerationConfig,
    processors: list[Processor],
    stops: Stops | None,
) -> Sampled:
    """One more token for each row; rows that have ended get padding."""
    progress = Progress(state.tokens, valid, state.slot, state.count, limits)
    logits = process(processors, progress, logits.astype(jnp.float32))
    key = state.key
    if config.do_sample:
        key, own = jax.random.split(key)
        warped = warp(logits, config, limits.temperature)
        token = jax.random.categorical(own, warped, axis=-1)
    else:
        token = jnp.argmax(logits, axis=-1)
    token = jnp.where(state.done, config.padding, token.astype(state.tokens.dtype))
    scores = state.scores
    if config.output_scores:
        found = jnp.take_along_axis(log_softmax(logits), token[:, None], axis=-1)
        found = jnp.where(state.done[:, None], 0.0, found)
        scores = jax.lax.dynamic_update_slice_in_dim(scores, found, state.count, axis=1)
    tokens = jax.lax.dynamic_update_slice_in_dim(state.tokens, token[:, None], state.slot, axis=1)
    count = state.count + 1
    done = state.done | ends(config, tokens, state.slot, count, limits.most)
    stopping = state.stopping
    if stops is not None:
        stopping, stopped = stops.step(stopping, token)
        done |= stopped
    return dataclasses.replace(
        state,
        tokens=tokens,
        slot=state.slot + 1,
        count=count,
        done=done,
        lengths=jnp.where(state.done, state.lengths, count),
        scores=scores,
        key=key,
        stopping=stopping,
    )
