import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.kernels.attention import attention

RNG = np.random.default_rng(0)
QUERIES = RNG.standard_normal((3, 4, 2, 8)).astype(np.float32)
KEYS = RNG.standard_normal((3, 5, 2, 8)).astype(np.float32)
VALUES = RNG.standard_normal((3, 5, 2, 8)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
BIAS = RNG.standard_normal((3, 2, 4, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def masked():
    """Output, weights, and the gradients of a weighted sum of the output."""
    weights = RNG.standard_normal((3, 4, 2, 8)).astype(np.float32)

    @jax.jit
    def run(queries, keys, values):
        def loss(queries, keys, values):
            mask = jnp.asarray(MASK)[:, None, None, :]
            found = attention(queries, keys, values, mask=mask, return_weights=True)
            return jnp.sum(found[0] * weights), found

        arrays = (jnp.asarray(queries), jnp.asarray(keys), jnp.asarray(values))
        grads, found = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*arrays)
        return found, grads

    return run


def test_agrees_with_the_formula_under_a_mask(masked):
    (output, weights), _ = masked(QUERIES, KEYS, VALUES)
    expected, expected_weights = reference.attention(
        *map(np.float64, (QUERIES, KEYS, VALUES)), MASK
    )
    np.testing.assert_allclose(output, expected, atol=1e-6)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-6)
    assert not np.asarray(weights)[1][..., ~MASK[1]].any()


def test_a_row_without_a_valid_key_is_exactly_zero_and_so_is_its_gradient(masked):
    (output, weights), grads = masked(QUERIES, KEYS, VALUES)
    for array in (output, weights, *grads):
        array = np.asarray(array)
        assert np.isfinite(array).all()
        assert not array[2].any()
        assert array[:2].any()


def test_what_masked_keys_and_values_hold_changes_nothing(masked):
    hidden = ~MASK[:, :, None, None]
    other = masked(QUERIES, np.where(hidden, 1e6, KEYS), np.where(hidden, -1e6, VALUES))
    ours = masked(QUERIES, KEYS, VALUES)
    jax.tree.map(np.testing.assert_array_equal, ours, other)


def test_bias_and_scale_without_a_mask():
    run = jax.jit(lambda q, k, v, b: attention(q, k, v, bias=b, scale=0.3, return_weights=True))
    output, weights = run(QUERIES, KEYS, VALUES, BIAS)
    expected, expected_weights = reference.attention(
        *map(np.float64, (QUERIES, KEYS, VALUES)), bias=BIAS, scale=0.3
    )
    np.testing.assert_allclose(output, expected, atol=1e-6)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-6)


def test_softmax_of_bfloat16_inputs_is_in_float32():
    """Bfloat16 logits of 256 and 257 are the same number; their softmax must not be."""
    queries = jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    keys = jnp.array([256.0, 1.0], jnp.bfloat16).reshape(1, 2, 1, 1)
    bias = jnp.array([0.0, 256.0]).reshape(1, 1, 1, 2)
    _, weights = jax.jit(lambda q, k: attention(q, k, k, bias=bias, return_weights=True))(
        queries, keys
    )
    assert weights.dtype == jnp.bfloat16
    expected = np.exp(1) / (1 + np.exp(1))
    assert float(weights[0, 0, 0, 1]) == pytest.approx(expected, abs=2**-8)


def test_dropout_keeps_the_mean_and_leaves_the_returned_weights():
    ones = jnp.ones((64, 8, 1, 1))
    options = {"dropout_rate": 0.25, "return_weights": True}
    run = jax.jit(lambda key: attention(ones, ones, ones, dropout_key=key, **options))
    output, weights = run(jax.random.key(0, impl="rbg"))
    np.testing.assert_array_equal(weights, 1 / 8)
    shares = np.asarray(output).ravel() * 8 * 0.75
    np.testing.assert_allclose(shares, shares.round(), atol=1e-5)
    mean, spread = shares.mean() / 8, np.sqrt(0.75 * 0.25 / (64 * 8 * 8))
    assert abs(mean - 0.75) < 4 * spread


def test_segments_are_one_softmax(masked):
    """Keys of 2, 0 and 3 tokens, of which the last has no padding."""
    parts = [slice(0, 2), slice(2, 2), slice(2, 5)]
    mask = np.where(np.arange(5) < 2, MASK, True)[:, None, None]
    run = jax.jit(lambda q, k, v, m: attention(q, k, v, mask=m, return_weights=True))
    found = run(
        QUERIES,
        tuple(KEYS[:, part] for part in parts),
        tuple(VALUES[:, part] for part in parts),
        (*(mask[..., part] for part in parts[:2]), None),
    )
    expected = reference.attention(*map(np.float64, (QUERIES, KEYS, VALUES)), mask[:, 0, 0])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_weights_are_returned_on_request_only():
    arrays = map(jnp.asarray, (QUERIES, KEYS, VALUES))
    assert jax.eval_shape(attention, *arrays)[1] is None
