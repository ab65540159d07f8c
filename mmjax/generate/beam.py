"""Beam search, as transformers' `GenerationMixin._beam_search` has it (4.57)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.generate.config import GenerationConfig
from mmjax.generate.processors import Processor, log_softmax, process
from mmjax.generate.state import Limits, Progress, ends
from mmjax.generate.stops import Stops
from mmjax.generate.warpers import warp

LOW = -1.0e9


@struct.dataclass
class Best:
    """The best ended sequences of each row, the best first: their new tokens alone."""

    tokens: Int[Array, "b r n"]
    lengths: Int[Array, "b r"]
    scores: Float[Array, "b r"]
    token_scores: Float[Array, "b r n"]
    ended: Bool[Array, "b r"]


@struct.dataclass
class Beams:
    """`tokens`, `sums` (of log-probabilities) and `token_scores` are of the beams that go on."""

    tokens: Int[Array, "b r s"]
    sums: Float[Array, "b r"]
    token_scores: Float[Array, "b r n"]
    best: Best
    improvable: Bool[Array, "b"]
    going: Bool[Array, ""]
    slot: Int[Array, ""]
    count: Int[Array, ""]
    parents: Int[Array, "b"]
    """Of each beam of each row, which one it was at the step before."""
    key: Array
    stopping: Int[Array, "b r"]
    """How much of a string that ends a row is there (`stops.Stops`)."""

    @property
    def newest(self) -> Int[Array, "b 1"]:
        flat = self.tokens.reshape(-1, self.tokens.shape[-1])
        return jax.lax.dynamic_slice_in_dim(flat, self.slot - 1, 1, axis=1)


def start(
    tokens: Int[Array, "b s"],
    slot: int,
    new: int,
    key: Array,
    config: GenerationConfig,
    stops: Stops | None,
) -> Beams:
    """The first beam alone counts, so that the others do not say the same."""
    rows, beams = tokens.shape[0], config.num_beams
    kept = new if config.output_scores else 0
    at = jnp.zeros(rows, jnp.int32) if stops is None else jnp.asarray(stops.at)
    best = Best(
        tokens=jnp.full((rows, beams, new), config.padding, tokens.dtype),
        lengths=jnp.zeros((rows, beams), jnp.int32),
        scores=jnp.full((rows, beams), LOW, jnp.float32),
        token_scores=jnp.zeros((rows, beams, kept), jnp.float32),
        ended=jnp.zeros((rows, beams), bool),
    )
    return Beams(
        tokens=jnp.repeat(tokens[:, None], beams, axis=1),
        sums=jnp.where(jnp.arange(beams) == 0, 0.0, jnp.full((rows, beams), LOW)),
        token_scores=best.token_scores,
        best=best,
        improvable=jnp.ones(rows, bool),
        going=jnp.asarray(True),
        slot=jnp.asarray(slot, jnp.int32),
        count=jnp.asarray(0, jnp.int32),
        parents=jnp.arange(rows * beams),
        key=jax.random.fold_in(key, 0),
        stopping=jnp.repeat(at[:, None], beams, axis=1),
    )


def choose(
    state: Beams,
    logits: Float[Array, "b v"],
    valid: Bool[Array, "b s"],
    limits: Limits,
    config: GenerationConfig,
    processors: list[Processor],
    stops: Stops | None,
) -> Beams:
    """One more token for each beam. `valid` and `limits` have a row an input, `logits` a beam."""
    rows, beams, slots = state.tokens.shape
    progress = Progress(
        state.tokens.reshape(-1, slots),
        jnp.repeat(valid, beams, axis=0),
        state.slot,
        state.count,
        limits.repeated(beams),
    )
    scores = process(processors, progress, log_softmax(logits))
    key = state.key
    if config.do_sample:
        scores = warp(scores, config, progress.limits.temperature)
        key, own = jax.random.split(key)
    vocabulary = scores.shape[-1]
    scores = scores.reshape(rows, beams, vocabulary)
    sums = (scores + state.sums[:, :, None]).reshape(rows, -1)
    keep = max(2, 1 + len(config.eos_token_id)) * beams
    if config.do_sample:
        # The largest of log-probabilities with Gumbel noise are a draw without replacement.
        noisy = jax.nn.log_softmax(sums, axis=-1) + jax.random.gumbel(own, sums.shape)
        index = jax.lax.top_k(noisy, keep)[1]
        top = jnp.take_along_axis(sums, index, axis=1)
    else:
        top, index = jax.lax.top_k(sums, keep)
    parent, token = index // vocabulary, (index % vocabulary).astype(state.tokens.dtype)
    tokens = _of(state.tokens, parent)
    tokens = jax.lax.dynamic_update_slice_in_dim(tokens, token[..., None], state.slot, axis=2)
    token_scores = _of(state.token_scores, parent)
    if config.output_scores:
        own_score = scores[jnp.arange(rows)[:, None], parent, token][..., None]
        token_scores = jax.lax.dynamic_update_slice_in_dim(
            token_scores, own_score, state.count, axis=2
        )
    count = state.count + 1
    most = jnp.repeat(limits.most, keep)
    hits = ends(config, tokens.reshape(-1, slots), state.slot, count, most).reshape(rows, keep)
    stopping = _of(state.stopping, parent)
    if stops is not None:
        stopping, stopped = stops.step(stopping, token)
        hits |= stopped

    running = top + jnp.where(hits, LOW, 0.0)
    sums, following = jax.lax.top_k(running, beams)
    best = _best(state, tokens, token_scores, top, hits, count, config)
    ahead = limits.most if config.early_stopping == "never" and config.length_penalty > 0 else count
    hope = sums[:, :1] / jnp.asarray(ahead, jnp.float32).reshape(-1, 1) ** config.length_penalty
    worst = jnp.where(best.ended, best.scores.min(axis=1, keepdims=True), LOW)
    improvable = state.improvable & (hope > worst).any(axis=1) & (count < limits.most)
    open_beam = ~best.ended.all() | (config.early_stopping is not True)
    offsets = jnp.arange(rows)[:, None] * beams
    return Beams(
        tokens=_of(tokens, following),
        sums=sums,
        token_scores=_of(token_scores, following),
        best=best,
        improvable=improvable,
        going=improvable.any() & open_beam & ~hits.all(),
        slot=state.slot + 1,
        count=count,
        parents=(_of(parent, following) + offsets).reshape(-1),
        key=key,
        stopping=_of(stopping, following),
    )


def _of(rows: Array, index: Int[Array, "b r"]) -> Array:
    index = index.reshape(*index.shape, *[1] * (rows.ndim - 2))
    return jnp.take_along_axis(rows, index, axis=1)


def _best(
    state: Beams,
    tokens: Array,
    token_scores: Array,
    sums: Array,
    hits: Array,
    count: Array,
    config: GenerationConfig,
) -> Best:
    """The best of those that had ended and those that end now, of which the first beams count."""
    old = state.best
    rows, keep = sums.shape
    beams, new = old.tokens.shape[1:]
    just = hits & (jnp.arange(keep) < beams)
    scores = sums / jnp.asarray(count, jnp.float32) ** config.length_penalty
    if config.early_stopping is True:
        scores += jnp.where(old.ended.all(axis=1, keepdims=True), LOW, 0.0)
    scores += jnp.where(state.improvable[:, None], 0.0, LOW)
    scores += jnp.where(just, 0.0, LOW)
    fresh = tokens[:, :, -new:]
    fresh = jnp.where(jnp.arange(new) < count, fresh, config.padding)
    now = Best(fresh, jnp.full((rows, keep), count), scores, token_scores, just)
    merged = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), old, now)
    chosen = jax.lax.top_k(merged.scores, beams)[1]
    return jax.tree.map(lambda one: _of(one, chosen), merged)
