"""Between spans of characters and tags of words, on the device.

Words are what carries a tag: every token, or the first of each run of tokens without a blank
between. They are moved to the front of the row, in their order, so that tags are sequences without
holes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Bool, Float, Int

Subwords = Literal["all", "first"]
"""Which tokens of a word carry its tag."""

Scheme = Literal["BIO", "BIOES", "words"]
"""Tags of a text's parts, or one for each word."""

_OUT, _BEGIN, _INSIDE, _END, _SINGLE = range(5)
_PREFIXES = {"BIO": (_BEGIN, _INSIDE), "BIOES": (_BEGIN, _INSIDE, _END, _SINGLE)}


class Words(NamedTuple):
    """The words of each row, at the front."""

    order: Int[Array, "b n"]
    """Which token each is."""
    starts: Int[Array, "b n"]
    ends: Int[Array, "b n"]
    mask: Bool[Array, "b n"]


def tag_count(scheme: Scheme, kinds: int) -> int:
    """How many tags there are of so many kinds."""
    return kinds if scheme == "words" else 1 + len(_PREFIXES[scheme]) * kinds


def tag_names(scheme: Scheme, names: tuple[str, ...]) -> tuple[str, ...]:
    """What the tags are called: O, B-PER, I-PER, ..."""
    if scheme == "words":
        return names
    return ("O", *(f"{letter}-{name}" for name in names for letter in scheme.replace("O", "")))


def words_of(offsets: Int[Array, "b n 2"], mask: Bool[Array, "b n"], subwords: Subwords) -> Words:
    """The words of tokens with these characters; those that `mask` hides are none."""
    starts, ends = offsets[..., 0], offsets[..., 1]
    real = mask & (ends > starts)
    reached = jax.lax.cummax(jnp.where(real, ends, -1), axis=1)
    before = jnp.pad(reached[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    # Tokens of one character (bytes of an emoji) are one word in any case.
    first = real & (starts > before if subwords == "first" else starts >= before)
    order = jnp.argsort(~first, axis=1, stable=True).astype(jnp.int32)
    count = first.sum(axis=1)
    place = jnp.arange(first.shape[1])
    # A word reaches as far as what stands before the next.
    following = jnp.take_along_axis(before, jnp.roll(order, -1, axis=1), axis=1)
    last = place == count[:, None] - 1
    return Words(
        order,
        jnp.take_along_axis(starts, order, axis=1),
        jnp.where(last, reached[:, -1:], following),
        place < count[:, None],
    )


def tags_of(
    words: Words, spans: Int[Array, "b s 3"], scheme: Scheme
) -> tuple[Int[Array, "b n"], Bool[Array, "b n"]]:
    """The tag of each word, and which words have one: with "words", those of a span.

    A word is of the first span, in their order, that it shares a character with.
    """
    shares = (words.starts[:, :, None] < spans[:, None, :, 1]) & (
        words.ends[:, :, None] > spans[:, None, :, 0]
    )
    shares &= words.mask[:, :, None] & (spans[:, None, :, 0] >= 0)
    inside = shares.any(axis=-1)
    owner = jnp.where(inside, jnp.argmax(shares, axis=-1), -1)
    kind = jnp.take_along_axis(spans[..., 2], jnp.maximum(owner, 0), axis=1)
    kind = jnp.where(inside, kind, 0)
    if scheme == "words":
        return kind, inside
    begins = owner != _shifted(owner, 1, -1)
    part = jnp.where(begins, 0, 1)
    if scheme == "BIOES":
        ends = owner != _shifted(owner, -1, -1)
        part = jnp.where(ends, jnp.where(begins, 3, 2), part)
    tags = 1 + len(_PREFIXES[scheme]) * kind + part
    return jnp.where(inside, tags, 0), words.mask


def spans_of(
    tags: Int[Array, "b n"],
    confidence: Float[Array, "b n"],
    words: Words,
    scheme: Scheme,
    *,
    strict: bool,
    most: int,
) -> tuple[Int[Array, "b most 3"], Float[Array, "b most"]]:
    """The spans that tags say, -1 where there are no more, and the mean confidence of their words.

    A tag that goes on with nothing begins a span, as conlleval has it; with `strict`, there is none
    that does not begin (and with BIOES end) as it should. Of more than `most`, the first stay.
    """
    place = jnp.arange(tags.shape[1])
    if scheme == "words":
        kind, begins, ends = tags, words.mask, words.mask
        good = words.mask
        first = jnp.broadcast_to(place, tags.shape)
    else:
        prefixes = _PREFIXES[scheme]
        named = (tags > 0) & words.mask
        kind = jnp.where(named, (tags - 1) // len(prefixes), -1)
        prefix = jnp.where(named, jnp.asarray(prefixes)[(tags - 1) % len(prefixes)], _OUT)
        before, after = _shifted(prefix, 1, _OUT), _shifted(prefix, -1, _OUT)
        fresh = _in(before, _OUT, _END, _SINGLE) | (kind != _shifted(kind, 1, -1))
        begins = _in(prefix, _BEGIN, _SINGLE) | (named & fresh)
        closed = _in(after, _BEGIN, _SINGLE, _OUT) | (kind != _shifted(kind, -1, -1))
        ends = named & (_in(prefix, _END, _SINGLE) | closed)
        first = jnp.maximum(jax.lax.cummax(jnp.where(begins, place, -1), axis=1), 0)
        good = ends
        if strict:
            opening = jnp.take_along_axis(prefix, first, axis=1)
            whole = opening == _BEGIN
            if scheme == "BIOES":
                whole = (whole & (prefix == _END)) | (prefix == _SINGLE)
            good = ends & whole
    starts = jnp.take_along_axis(words.starts, first, axis=1)
    spans = jnp.stack([starts, words.ends, kind], axis=-1).astype(jnp.int32)
    order = jnp.argsort(~good, axis=1, stable=True)[:, :most]
    kept = jnp.take_along_axis(good, order, axis=1)
    spans = jnp.where(kept[..., None], jnp.take_along_axis(spans, order[..., None], axis=1), -1)
    opened = jnp.take_along_axis(first, order, axis=1)
    members = (opened[..., None] <= place) & (place <= order[..., None]) & kept[..., None]
    summed = jnp.sum(jnp.where(members, confidence[:, None], 0.0), axis=-1)
    mean = summed / jnp.maximum(members.sum(axis=-1), 1)
    room = ((0, 0), (0, max(0, most - tags.shape[1])))
    return jnp.pad(spans, (*room, (0, 0)), constant_values=-1), jnp.pad(mean, room)


def allowed(scheme: Scheme, kinds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which tags may follow which [v v], begin [v] and end [v] a row."""
    count = tag_count(scheme, kinds)
    if scheme == "words":
        return np.ones((count, count), bool), np.ones(count, bool), np.ones(count, bool)
    prefixes = _PREFIXES[scheme]
    tags = [(_OUT, -1), *((prefix, kind) for kind in range(kinds) for prefix in prefixes)]
    open_ended = scheme == "BIO"
    follows = np.zeros((count, count), bool)
    for i, (before, kind) in enumerate(tags):
        opened = before in (_BEGIN, _INSIDE)
        for j, (now, own) in enumerate(tags):
            goes_on = now in (_INSIDE, _END)
            if goes_on:
                follows[i, j] = opened and own == kind
            else:
                follows[i, j] = open_ended or not opened
    begins = np.array([prefix not in (_INSIDE, _END) for prefix, _ in tags])
    stops = np.array([open_ended or prefix not in (_BEGIN, _INSIDE) for prefix, _ in tags])
    return follows, begins, stops


def _in(prefix: Array, *which: int) -> Array:
    found = prefix == which[0]
    for one in which[1:]:
        found |= prefix == one
    return found


def _shifted(values: Array, by: int, empty: int) -> Array:
    """Each place's neighbour before it (`by` 1) or after it (-1)."""
    if by > 0:
        return jnp.pad(values[:, :-1], ((0, 0), (1, 0)), constant_values=empty)
    return jnp.pad(values[:, 1:], ((0, 0), (0, 1)), constant_values=empty)
