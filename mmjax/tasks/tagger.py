"""From the logits of words to losses, tags and spans, with or without a chain between tags."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, Bool, Dtype, Float, Int
from mmjax.nn import crf
from mmjax.nn.dense import parameter
from mmjax.tasks.tagging import Scheme, Words, allowed, spans_of, tags_of

Outputs = dict[str, Array]


class Tagger(NamedTuple):
    """How one set of tags is read."""

    scheme: Scheme
    kinds: int
    strict: bool
    most: int


class Tagged(NamedTuple):
    """What a tagger makes of one batch."""

    losses: Float[Array, "b n"]
    """Of each word, in nats; with a chain, the words of a row have the same."""
    counted: Bool[Array, "b n"]
    """Which words carry a tag."""
    right: Bool[Array, "b n"]


def chain_parameters(
    module: nn.Module, name: str, count: int, *, dtype: Dtype, param_dtype: Dtype
) -> Outputs:
    """The scores between tags, to be made in a head; they travel with its outputs."""
    shapes = {"transitions": (count, count), "start": (count,), "stop": (count,)}
    types = {"dtype": dtype, "param_dtype": param_dtype}
    zeros = nn.initializers.zeros
    return {
        part: parameter(module, f"{name}_{part}", shape, (None,) * len(shape), init=zeros, **types)
        for part, shape in shapes.items()
    }


def read(
    logits: Float[Array, "b n v"], chain: Outputs | None, words: Words, tagger: Tagger
) -> tuple[Int[Array, "b n"], Int[Array, "b most 3"], Float[Array, "b most"]]:
    """The best tags of words at the front of their rows, and the spans they say, with scores.

    A span's score is the mean probability of its words' tags; with a chain, their marginals.
    """
    logits = jax.lax.stop_gradient(logits.astype(jnp.float32))
    if chain is None:
        shares = jax.nn.softmax(logits)
        tags = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    else:
        bounds = jax.lax.stop_gradient(constrained(chain, tagger))
        shares = crf.marginals(logits, bounds, words.mask)
        tags = crf.viterbi(logits, bounds, words.mask)
    confidence = jnp.take_along_axis(shares, tags[..., None], axis=-1)[..., 0]
    spans, scores = spans_of(
        tags, confidence, words, tagger.scheme, strict=tagger.strict, most=tagger.most
    )
    return tags, spans, scores


def judge(
    logits: Float[Array, "b n v"],
    chain: Outputs | None,
    words: Words,
    tags: Int[Array, "b n"],
    spans: Int[Array, "b s 3"],
    tagger: Tagger,
) -> Tagged:
    """Losses of words by the true spans, and which of the tags that were read are right."""
    truth, counted = tags_of(words, spans, tagger.scheme)
    right = counted & (tags == truth)
    logits = logits.astype(jnp.float32)
    if chain is None:
        log_p = jax.nn.log_softmax(logits)
        losses = -jnp.take_along_axis(log_p, truth[..., None], axis=-1)[..., 0]
        return Tagged(jnp.where(counted, losses, 0.0), counted, right)
    bounds = constrained(chain, tagger)
    whole = crf.log_normaliser(logits, bounds, words.mask)
    whole -= crf.score(logits, bounds, truth, words.mask)
    each = whole / jnp.maximum(words.mask.sum(axis=1), 1)
    return Tagged(jnp.where(words.mask, each[:, None], 0.0), words.mask, right)


def constrained(chain: Outputs, tagger: Tagger) -> crf.Chain:
    """The chain in which tags cannot follow each other that mean nothing so."""
    bounds = allowed(tagger.scheme, tagger.kinds)
    return crf.Chain(
        *(
            jnp.where(jnp.asarray(may), chain[part].astype(jnp.float32), crf.NEVER)
            for may, part in zip(bounds, ("transitions", "start", "stop"), strict=True)
        )
    )


def to_words(values: Float[Array, "b n v"], words: Words) -> Float[Array, "b n v"]:
    """What tokens have, of the words at the front of their rows."""
    return jnp.take_along_axis(values, words.order[..., None], axis=1)
