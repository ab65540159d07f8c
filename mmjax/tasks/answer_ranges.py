"""The best ranges of tokens by the scores of their ends, and how ranges of characters agree."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float, Int

NEVER = -1e9
"""The logit of what cannot be chosen."""


class Ends(NamedTuple):
    """Logarithms of probabilities: where an answer starts and ends, and that there is none."""

    start: Float[Array, "b n"]
    end: Float[Array, "b n"]
    none: Float[Array, "b 2"]


def ends(
    logits: Float[Array, "b n 2"], none: Float[Array, "b 2"] | None, valid: Bool[Array, "b n"]
) -> Ends:
    """Softmax over the valid tokens, and over no answer where there is such a logit (`none`)."""
    logits = jnp.where(valid[..., None], logits.astype(jnp.float32), NEVER)
    without = jnp.full((len(logits), 2), NEVER) if none is None else none.astype(jnp.float32)
    log_p = jax.nn.log_softmax(jnp.concatenate([without[:, None], logits], axis=1), axis=1)
    return Ends(log_p[:, 1:, 0], log_p[:, 1:, 1], log_p[:, 0])


def first_and_last(
    offsets: Int[Array, "b n 2"], spans: Int[Array, "b 2"]
) -> tuple[Int[Array, "b"], Int[Array, "b"], Bool[Array, "b"]]:
    """The first and last token that has a character of the span, and whether there is one."""
    start, end = spans[:, :1], spans[:, 1:]
    touched = (offsets[..., 0] < end) & (offsets[..., 1] > start) & (start >= 0)
    last = touched.shape[1] - 1 - jnp.argmax(touched[:, ::-1], axis=1)
    return jnp.argmax(touched, axis=1), last, touched.any(axis=1)


def best(
    found: Ends,
    offsets: Int[Array, "b n 2"],
    valid: Bool[Array, "b n"],
    *,
    longest: int,
    count: int,
) -> tuple[Int[Array, "b count 2"], Float[Array, "b count"]]:
    """The likeliest ranges of `longest` tokens at most, as characters, with the logarithm of their
    probability (that of the start times that of the end); (-1, -1) where there are no more.
    """
    tokens = valid.shape[1]
    longest = min(longest, tokens)

    def shifted(values: Array, fill: float | bool) -> Array:
        """[b n longest]: what stands 0, 1, ... places on."""
        padded = jnp.pad(values, ((0, 0), (0, longest - 1)), constant_values=fill)
        at = jnp.arange(tokens)[:, None] + jnp.arange(longest)
        return padded[:, at]

    scores = found.start[..., None] + shifted(found.end, NEVER)
    possible = valid[..., None] & shifted(valid, False)
    scores = jnp.where(possible, scores, 2 * NEVER).reshape(len(scores), -1)
    if scores.shape[1] < count:
        more = count - scores.shape[1]
        scores = jnp.pad(scores, ((0, 0), (0, more)), constant_values=2 * NEVER)
    top, places = jax.lax.top_k(scores, count)
    start = jnp.minimum(places // longest, tokens - 1)
    end = jnp.minimum(start + places % longest, tokens - 1)
    first = jnp.take_along_axis(offsets[..., 0], start, axis=1)
    last = jnp.take_along_axis(offsets[..., 1], end, axis=1)
    spans = jnp.where((top > NEVER)[..., None], jnp.stack([first, last], axis=-1), -1)
    return spans.astype(jnp.int32), top


def agreement(
    said: Int[Array, "b 2"], answers: Int[Array, "b most 2"]
) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
    """Whether a span is one of the answers, and the F1 of characters with the nearest.

    (-1, -1) is no answer: right where there are none.
    """
    said = said[:, None]
    real = answers[..., 0] >= 0
    one = said[..., 0] >= 0
    shared = jnp.minimum(said[..., 1], answers[..., 1]) - jnp.maximum(said[..., 0], answers[..., 0])
    sizes = said[..., 1] - said[..., 0] + answers[..., 1] - answers[..., 0]
    overlap = jnp.where(real & one, 2 * jnp.maximum(shared, 0) / jnp.maximum(sizes, 1), 0.0)
    exact = jnp.where(real & one, (said == answers).all(axis=-1), False).any(axis=1)
    neither = ~real.any(axis=1) & ~one[:, 0]
    exact = (exact | neither).astype(jnp.float32)
    return exact, jnp.where(neither, 1.0, overlap.max(axis=1))
