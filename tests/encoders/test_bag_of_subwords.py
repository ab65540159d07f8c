import functools

import jax
import numpy as np
import pytest
import reference

from mmjax.encoders.bag_of_subwords import BagOfSubwords

IDS = np.random.default_rng(0).integers(0, 13, (4, 6)).astype(np.int32)
MASK = np.arange(6) < np.array([[6], [4], [1], [0]])


@pytest.mark.parametrize("combiner", ["mean", "sqrtn"])
def test_pools_the_vectors_of_the_subwords(combiner):
    module = BagOfSubwords(vocab_size=13, width=8, combiner=combiner)
    variables = reference.random_variables(module, IDS, MASK, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, IDS, MASK)
    vectors = np.float64(variables["params"]["subwords"]["embedding"])[IDS]
    np.testing.assert_array_equal(tokens.values, vectors)
    expected = reference.masked_mean(vectors, MASK)
    if combiner == "sqrtn":
        expected *= np.sqrt(MASK.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(tokens.pooled, expected, atol=1e-6)
    assert not np.asarray(tokens.pooled)[3].any()


def test_token_dropout_leaves_out_whole_subwords_and_averages_the_others():
    """With one vector a position, the mean shows which were left out."""
    ids = np.tile(np.arange(8, dtype=np.int32), (512, 1))
    module = BagOfSubwords(vocab_size=8, width=8, token_dropout=0.25)
    variables = {"params": {"subwords": {"embedding": np.eye(8, dtype=np.float32)}}}
    rngs = {"dropout": jax.random.key(0, impl="rbg")}
    run = jax.jit(functools.partial(module.apply, train=True))
    pooled = np.asarray(run(variables, ids, np.ones(ids.shape, bool), rngs=rngs).pooled)
    kept = pooled > 0
    np.testing.assert_allclose(
        pooled, kept / np.maximum(kept.sum(axis=1, keepdims=True), 1), rtol=1e-6
    )
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / kept.size)
