"""Spans to tags and back, on the device, against seqeval's reading of tags."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.tags import entities_of
from mmjax.tasks import tagging

KINDS = ("x", "y")
LENGTH = 7


def _words(lengths):
    """Words of two characters each with a blank between."""
    starts = 3 * np.arange(LENGTH, dtype=np.int32)[None] + np.zeros((len(lengths), 1), np.int32)
    mask = np.arange(LENGTH) < np.asarray(lengths)[:, None]
    order = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), starts.shape)
    return tagging.Words(*map(jnp.asarray, (order, starts, starts + 2, mask)))


@functools.cache
def _reader(scheme, strict, most=LENGTH):
    read = functools.partial(tagging.spans_of, scheme=scheme, strict=strict, most=most)
    return jax.jit(lambda tags, confidence, words: read(tags, confidence, words))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("scheme", "name"), [("BIO", "IOB2"), ("BIOES", "IOBES")])
def test_tags_say_the_spans_that_seqeval_reads(scheme, name, strict):
    rng = np.random.default_rng(1)
    names = tagging.tag_names(scheme, KINDS)
    assert len(names) == tagging.tag_count(scheme, 2)
    tags = rng.integers(0, len(names), (64, LENGTH)).astype(np.int32)
    tags[rng.random(tags.shape) < 0.2] = 0
    lengths = rng.integers(0, LENGTH + 1, 64)
    confidence = rng.random((64, LENGTH)).astype(np.float32)
    found, scores = _reader(scheme, strict)(tags, confidence, _words(lengths))
    for row in range(64):
        said = [names[tag] for tag in tags[row, : lengths[row]]]
        wanted = entities_of(said, name if strict else None)
        here = found[row, :, 0] >= 0
        ours = [(KINDS[k], s // 3, e // 3 + 1) for s, e, k in np.asarray(found[row])[here].tolist()]
        assert ours == wanted
        means = [confidence[row, a:b].mean() for _, a, b in wanted]
        np.testing.assert_allclose(np.asarray(scores[row])[here], means, rtol=1e-5)
        assert not np.asarray(scores[row])[~np.asarray(here)].any()


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "words"])
def test_spans_come_back_from_their_tags(scheme):
    words = _words([7, 5, 0])
    spans = np.full((3, 4, 3), -1, np.int32)
    spans[0, :4] = [(0, 2, 1), (3, 5, 1), (6, 14, 0), (18, 20, 0)]
    spans[1, :2] = [(9, 14, 1), (15, 20, 0)]
    if scheme == "words":
        spans[0, 2] = 6, 8, 0
    tags, counted = jax.jit(lambda: tagging.tags_of(words, jnp.asarray(spans), scheme))()
    names = tagging.tag_names(scheme, KINDS)
    said = [[names[t] for t in row] for row in np.asarray(tags).tolist()]
    wanted = {
        "BIO": "B-y B-y B-x I-x I-x O B-x",
        "BIOES": "S-y S-y B-x I-x E-x O S-x",
        "words": "y y x x x x x",
    }[scheme]
    assert said[0] == wanted.split()
    if scheme == "words":
        assert np.asarray(counted[0]).tolist() == [True, True, True, False, False, False, True]
        return
    assert np.array_equal(counted, words.mask)
    back, _ = _reader(scheme, True)(tags, jnp.ones(tags.shape), words)
    # What begins behind the last word has none to be told by.
    spans[1, 1] = -1
    np.testing.assert_array_equal(back[:, :4], spans)
    few, _ = _reader(scheme, True, 2)(tags, jnp.ones(tags.shape), words)
    np.testing.assert_array_equal(few, spans[:, :2])


def test_words_are_runs_of_tokens_without_a_blank():
    offsets = np.array(
        [[(0, 0), (1, 4), (4, 6), (0, 0), (7, 8), (7, 8), (9, 12), (0, 0)]], np.int32
    )
    offsets, mask = jnp.asarray(offsets), jnp.arange(8)[None] < 7
    every = jax.jit(lambda: tagging.words_of(offsets, mask, "all"))()
    first = jax.jit(lambda: tagging.words_of(offsets, mask, "first"))()

    def kept(words):
        here = np.asarray(words.mask[0])
        return [np.asarray(one[0])[here].tolist() for one in words[:3]]

    assert kept(every) == [[1, 2, 4, 6], [1, 4, 7, 9], [4, 6, 8, 12]]
    assert kept(first) == [[1, 4, 6], [1, 7, 9], [6, 8, 12]]
    hidden = jax.jit(lambda: tagging.words_of(offsets, ~mask, "all"))()
    assert not np.asarray(hidden.mask).any()


@pytest.mark.parametrize(("scheme", "name"), [("BIO", "IOB2"), ("BIOES", "IOBES")])
def test_sequences_that_are_allowed_are_those_that_mean_the_same_in_both_modes(scheme, name):
    """And all of whose tags are part of an entity."""
    names = tagging.tag_names(scheme, KINDS)
    follows, begins, stops = tagging.allowed(scheme, 2)
    for a in range(len(names)):
        for b in range(len(names)):
            said = [names[a], names[b]]
            tagged = sum(tag != "O" for tag in said)
            whole = sum(end - start for _, start, end in entities_of(said, name)) == tagged
            assert whole == (begins[a] and follows[a, b] and stops[b])
