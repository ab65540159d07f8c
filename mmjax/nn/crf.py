"""A linear-chain conditional random field over tags (Lafferty et al. 2001).

The score of a sequence is `start` of its first tag, `emissions` of all, `transitions` between
neighbours and `stop` of its last. Sequences are padded on the right; those of no tag have no
meaning, and are finite. Everything is in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float, Int

NEVER = -1e4
"""What a transition scores that cannot be."""


class Chain(NamedTuple):
    """What sequences of tags score beside their emissions."""

    transitions: Float[Array, "v v"]
    """From the first to the second."""
    start: Float[Array, "v"]
    stop: Float[Array, "v"]


def log_normaliser(
    emissions: Float[Array, "b n v"], chain: Chain, mask: Bool[Array, "b n"]
) -> Float[Array, "b"]:
    """The logarithm of the summed exponentials of the scores of all sequences."""
    steps = _time_major(emissions, mask)
    transitions, start, stop = _single(chain)

    def step(alpha: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
        emission, here = one
        new = jax.nn.logsumexp(alpha[:, :, None] + transitions, axis=1) + emission
        return jnp.where(here[:, None], new, alpha), None

    first = start + steps[0][0]
    alpha, _ = jax.lax.scan(step, first, (steps[0][1:], steps[1][1:]))
    return jax.nn.logsumexp(alpha + stop, axis=-1)


def score(
    emissions: Float[Array, "b n v"],
    chain: Chain,
    tags: Int[Array, "b n"],
    mask: Bool[Array, "b n"],
) -> Float[Array, "b"]:
    """What given sequences score; tags of padding may be anything within range."""
    transitions, start, stop = _single(chain)
    own = jnp.take_along_axis(emissions.astype(jnp.float32), tags[..., None], axis=-1)[..., 0]
    between = transitions[tags[:, :-1], tags[:, 1:]]
    last = jnp.maximum(mask.sum(axis=1) - 1, 0)
    final = jnp.take_along_axis(tags, last[:, None], axis=1)[:, 0]
    total = jnp.sum(jnp.where(mask, own, 0.0), axis=1)
    total += jnp.sum(jnp.where(mask[:, 1:], between, 0.0), axis=1)
    return total + start[tags[:, 0]] + stop[final]


def marginals(
    emissions: Float[Array, "b n v"], chain: Chain, mask: Bool[Array, "b n"]
) -> Float[Array, "b n v"]:
    """The probability of each tag at each place: the gradient of the log normaliser."""
    return jax.grad(lambda e: log_normaliser(e, chain, mask).sum())(emissions.astype(jnp.float32))


def viterbi(
    emissions: Float[Array, "b n v"], chain: Chain, mask: Bool[Array, "b n"]
) -> Int[Array, "b n"]:
    """The sequence that scores the most, int32; ties go to the lower tag, padding is 0."""
    steps = _time_major(emissions, mask)
    transitions, start, stop = _single(chain)
    stay = jnp.arange(transitions.shape[0], dtype=jnp.int32)

    def forward(alpha: Array, one: tuple[Array, Array]) -> tuple[Array, Array]:
        emission, here = one
        paths = alpha[:, :, None] + transitions
        new = paths.max(axis=1) + emission
        back = jnp.where(here[:, None], paths.argmax(axis=1).astype(jnp.int32), stay)
        return jnp.where(here[:, None], new, alpha), back

    first = start + steps[0][0]
    alpha, back = jax.lax.scan(forward, first, (steps[0][1:], steps[1][1:]))
    final = jnp.argmax(alpha + stop, axis=-1).astype(jnp.int32)

    def backward(tag: Array, pointers: Array) -> tuple[Array, Array]:
        return jnp.take_along_axis(pointers, tag[:, None], axis=1)[:, 0], tag

    head, rest = jax.lax.scan(backward, final, back, reverse=True)
    tags = jnp.concatenate([head[None], rest]).T
    return jnp.where(mask, tags, 0)


def _time_major(emissions: Array, mask: Array) -> tuple[Array, Array]:
    return jnp.swapaxes(emissions.astype(jnp.float32), 0, 1), jnp.swapaxes(mask, 0, 1)


def _single(chain: Chain) -> Chain:
    return Chain(*(one.astype(jnp.float32) for one in chain))
