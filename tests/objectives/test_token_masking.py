"""BERT's masking rules: counts exactly, shares within binomial bounds, on one large batch."""

import itertools
import random
import types

import jax
import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from mmjax.objectives.token_masking import mask_tokens, most_hidden

VOCABULARY, MASK_ID, LENGTH, ROWS = 60, 3, 41, 6000
SPECIAL = (0, 1, 2, 3, 59)
CHANCE = 1e-4
"""How unlikely a sample may be, under the rules; the seeds are fixed."""


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed, impl="threefry2x32"), count)


def chosen_of(hidden, shape):
    chosen = np.zeros(shape, bool)
    row, slot = np.nonzero(hidden.mask)
    chosen[row, np.asarray(hidden.places)[row, slot]] = True
    return chosen


hide = jax.jit(
    lambda ids, mask, keys: mask_tokens(
        ids, mask, keys, mask_id=MASK_ID, vocab_size=VOCABULARY, special_ids=SPECIAL
    )
)


@pytest.fixture(scope="module")
def sample():
    """Rows of all lengths between [CLS] and [SEP], a third of them full, with odd ids inside."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, LENGTH + 1, ROWS)
    lengths[::3] = LENGTH
    lengths[1:8] = range(7)
    ids = rng.integers(4, 59, (ROWS, LENGTH))
    ids[:, 0], ids[:, 7] = 1, 59
    ids[np.arange(ROWS), np.maximum(lengths - 1, 0)] = 2
    mask = np.arange(LENGTH) < lengths[:, None]
    changed, hidden = jax.device_get(hide(ids.astype(np.int32), mask, keys(ROWS)))
    chosen = chosen_of(hidden, ids.shape)
    found = {"ids": ids, "mask": mask, "changed": changed, "hidden": hidden, "chosen": chosen}
    return types.SimpleNamespace(**found, lengths=lengths)


def test_counts_are_those_of_bert(sample):
    """`min(max(1, round(0.15 n)), candidates)` of each row, by Python's own rounding."""
    candidates = (sample.mask & ~np.isin(sample.ids, SPECIAL)).sum(axis=1)
    want = [
        min(max(1, round(int(n) * 0.15)), c)
        for n, c in zip(sample.lengths, candidates, strict=True)
    ]
    np.testing.assert_array_equal(sample.hidden.mask.sum(axis=1), want)
    np.testing.assert_array_equal(sample.chosen.sum(axis=1), want)
    assert sample.hidden.mask.shape[1] == most_hidden(LENGTH) == 6
    assert 0 in want


def test_only_text_is_chosen_and_only_the_chosen_change(sample):
    assert not (sample.chosen & (np.isin(sample.ids, SPECIAL) | ~sample.mask)).any()
    np.testing.assert_array_equal(sample.changed[~sample.chosen], sample.ids[~sample.chosen])
    row, slot = np.nonzero(sample.hidden.mask)
    places = sample.hidden.places[row, slot]
    np.testing.assert_array_equal(sample.hidden.ids[row, slot], sample.ids[row, places])
    assert all(len(set(places)) == len(places) for places in sample.hidden.places)


def test_eighty_ten_ten(sample):
    """A random id is the own one with chance 1 / 55, which counts among those that stayed."""
    before, after = sample.ids[sample.chosen], sample.changed[sample.chosen]
    total, ordinary = len(before), VOCABULARY - len(SPECIAL)
    shares = {
        0.8: (after == MASK_ID).sum(),
        0.1 + 0.1 / ordinary: (after == before).sum(),
        0.1 * (1 - 1 / ordinary): ((after != before) & (after != MASK_ID)).sum(),
    }
    assert sum(shares.values()) == total > 15_000
    for share, count in shares.items():
        assert binomtest(int(count), total, share).pvalue > CHANCE, share


def test_random_ids_are_even_and_never_special(sample):
    drawn = sample.changed[sample.chosen & (sample.changed != MASK_ID)]
    drawn = drawn[drawn != sample.ids[sample.chosen & (sample.changed != MASK_ID)]]
    counts = np.bincount(drawn, minlength=VOCABULARY)
    assert not counts[list(SPECIAL)].any()
    ordinary = np.setdiff1d(np.arange(VOCABULARY), SPECIAL)
    assert chisquare(counts[ordinary]).pvalue > CHANCE


def test_places_are_even(sample):
    full = sample.lengths == LENGTH
    counts = sample.chosen[full].sum(axis=0)
    places = np.setdiff1d(np.arange(LENGTH), [0, 7, LENGTH - 1])
    assert counts[places].sum() == counts.sum()
    assert chisquare(counts[places]).pvalue > CHANCE


def test_a_row_depends_on_its_key_alone(sample):
    """Not on the rows around it, nor on how far the batch is padded."""
    few = np.flatnonzero(sample.lengths <= 20)[:50]
    ids, mask = sample.ids[few, :20].astype(np.int32), sample.mask[few, :20]
    changed, _ = hide(ids, mask, keys(ROWS)[few])
    np.testing.assert_array_equal(changed, sample.changed[few, :20])
    other, _ = hide(ids, mask, keys(ROWS, seed=1)[few])
    assert (np.asarray(other) != changed).any(axis=1).mean() > 0.5


def bert_words(sizes, budget, rng):
    """The words that BERT's create_pretraining_data.py takes, in its own loop."""
    order, taken, count = list(range(len(sizes))), [], 0
    rng.shuffle(order)
    for word in order:
        if count >= budget:
            break
        if count + sizes[word] > budget:
            continue
        taken.append(word)
        count += sizes[word]
    return taken


SIZES = (1, 3, 2, 1, 5, 9, 2, 1, 4, 1, 7)
"""Pieces of each word of a text between [CLS] and [SEP]."""
DRAWS = 8000


@jax.jit
def hide_words(ids, mask, keys):
    """Ids from 30 on go on with a word."""
    return mask_tokens(
        ids,
        mask,
        keys,
        mask_id=MASK_ID,
        vocab_size=VOCABULARY,
        special_ids=SPECIAL,
        word_starts=np.arange(VOCABULARY) < 30,
    )


def test_whole_words_as_bert_chooses_them():
    """Each word's share of the draws, against as many of the reference's loop."""
    length = sum(SIZES) + 2
    budget = round(0.15 * length)
    # The word behind [CLS] begins without a mark, as RoBERTa's does.
    text = [1, 30]
    for word, size in enumerate(SIZES[1:]):
        text += [10 + word] + [31 + word] * (size - 1)
    ids = np.tile([*text, 2], (DRAWS, 1)).astype(np.int32)
    _, hidden = hide_words(ids, np.ones(ids.shape, bool), keys(DRAWS))
    chosen = chosen_of(hidden, ids.shape)
    assert not chosen[:, [0, -1]].any()
    bounds = np.cumsum([1, *SIZES])
    taken = np.stack([chosen[:, a:b].sum(axis=1) for a, b in itertools.pairwise(bounds)], 1)
    assert all(set(taken[:, word]) <= {0, size} for word, size in enumerate(SIZES))
    assert (taken.sum(axis=1) <= budget).all()
    rng = random.Random(0)
    theirs = np.zeros(len(SIZES))
    for _ in range(DRAWS):
        theirs[bert_words(SIZES, budget, rng)] += 1
    ours = (taken > 0).sum(axis=0)
    for word, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        share = (a + b) / (2 * DRAWS)
        assert abs(a - b) / DRAWS <= 4 * np.sqrt(2 * share * (1 - share) / DRAWS), word
    assert ours[5] == ours[10] == 0


def test_rows_of_long_words_hide_the_shortest():
    """Where no word fits into the count, as long as there is room for it: six tokens here."""
    ids = np.full((DRAWS, sum(SIZES) + 2), 40, np.int32)
    ids[:, 0] = 1
    ids[0, [1, 5, 8]] = 10
    ids[1, [1, 8]] = 10
    mask = np.arange(ids.shape[1]) < np.full(DRAWS, 15)[:, None]
    mask[0, 11:] = False
    _, hidden = hide_words(ids, mask, keys(DRAWS))
    chosen = chosen_of(hidden, ids.shape)
    assert np.flatnonzero(chosen[0]).tolist() in ([5, 6, 7], [8, 9, 10])
    assert not chosen[1].any()
