"""Conditional random fields against the sum over all sequences."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn import crf

RNG = np.random.default_rng(0)
LENGTHS = (4, 1, 3)
EMISSIONS = RNG.standard_normal((3, 4, 3)).astype(np.float32)
CHAIN = crf.Chain(*(RNG.standard_normal(s).astype(np.float32) for s in ((3, 3), (3,), (3,))))
MASK = np.arange(4) < np.array(LENGTHS)[:, None]


def _score(row, tags):
    """In float64, of one row's tags."""
    transitions, start, stop = (np.float64(one) for one in CHAIN)
    total = start[tags[0]] + stop[tags[-1]]
    total += sum(np.float64(EMISSIONS[row, i, tag]) for i, tag in enumerate(tags))
    return total + sum(transitions[a, b] for a, b in itertools.pairwise(tags))


def _all(row):
    sequences = list(itertools.product(range(3), repeat=LENGTHS[row]))
    return sequences, np.array([_score(row, tags) for tags in sequences])


@pytest.fixture(scope="module")
def found():
    tags = jnp.asarray(RNG.integers(0, 3, (3, 4)), jnp.int32)

    @jax.jit
    def run(emissions, chain, mask, tags):
        return (
            crf.log_normaliser(emissions, chain, mask),
            crf.score(emissions, chain, tags, mask),
            crf.marginals(emissions, chain, mask),
            crf.viterbi(emissions, chain, mask),
        )

    chain = jax.tree.map(jnp.asarray, CHAIN)
    other = jnp.where(MASK[..., None], EMISSIONS, 77.0)
    ours = run(jnp.asarray(EMISSIONS), chain, jnp.asarray(MASK), tags)
    jax.tree.map(np.testing.assert_array_equal, ours, run(other, chain, jnp.asarray(MASK), tags))
    return tags, *ours


@pytest.mark.parametrize("row", range(3))
def test_sums_scores_and_marginals_are_those_of_all_sequences(row, found):
    tags, normaliser, score, marginals, best = (np.asarray(one) for one in found)
    sequences, scores = _all(row)
    assert normaliser[row] == pytest.approx(np.log(np.exp(scores).sum()), rel=1e-6)
    length = LENGTHS[row]
    assert score[row] == pytest.approx(_score(row, tags[row, :length].tolist()), rel=1e-5)
    shares = np.exp(scores - np.log(np.exp(scores).sum()))
    wanted = np.zeros((4, 3))
    for tags_of_row, share in zip(sequences, shares, strict=True):
        for i, tag in enumerate(tags_of_row):
            wanted[i, tag] += share
    np.testing.assert_allclose(marginals[row], wanted, atol=1e-6)
    assert best[row, :length].tolist() == list(sequences[int(scores.argmax())])
    assert not best[row, length:].any()


def test_a_row_of_padding_alone_is_finite_with_its_gradient():
    chain = jax.tree.map(jnp.asarray, CHAIN)

    def loss(emissions):
        mask = jnp.zeros((3, 4), bool)
        normaliser = crf.log_normaliser(emissions, chain, mask)
        return jnp.sum(normaliser - crf.score(emissions, chain, jnp.zeros((3, 4), int), mask))

    value, grads = jax.jit(jax.value_and_grad(loss))(jnp.asarray(EMISSIONS))
    assert np.isfinite(value)
    assert np.isfinite(np.asarray(grads)).all()
