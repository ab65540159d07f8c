import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.encoders.text_transformer import TextTransformer

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 13, (3, 5)).astype(np.int32)
MASK = np.arange(5) < np.array([[5], [2], [1]])
SEGMENTS = RNG.integers(0, 2, (3, 5)).astype(np.int32)
SIZES = {"vocab_size": 13, "max_length": 7, "width": 8, "depth": 2, "heads": 2, "mlp_dim": 16}


def bert(p, segments, positions):
    """Tokens and pooled of BERT (Devlin et al. 2019), as transformers' BertModel has them."""
    x = p["words"]["embedding"][IDS] + p["positions"]["embedding"][positions]
    x = reference.layer_norm(p["embeddings_norm"], x + p["segments"]["embedding"][segments], 1e-12)
    x = reference.transformer(p["transformer"], x, MASK, norm="post", eps=1e-12)
    return x, np.tanh(reference.dense(p["pooler"], x[:, 0]))


@pytest.fixture(scope="module")
def module_and_variables():
    module = TextTransformer(**SIZES)
    variables = reference.random_variables(module, IDS, MASK, train=False)
    for name in ("words", "positions", "segments"):
        variables["params"][name]["embedding"] *= 1e-4  # So small that the eps of a norm shows.
    return module, variables


def run(module, variables, *inputs):
    return jax.jit(functools.partial(module.apply, train=False))(variables, *inputs)


def test_agrees_with_bert(module_and_variables):
    module, variables = module_and_variables
    positions = np.array([[2, 0, 6, 4, 1]] * 3, np.int32)
    params = reference.double(variables["params"])
    for given, expected in (
        ((), bert(params, np.zeros_like(IDS), np.arange(5))),
        ((SEGMENTS, positions), bert(params, SEGMENTS, positions)),
    ):
        tokens = run(module, variables, IDS, MASK, *given)
        np.testing.assert_allclose(tokens.values, expected[0], atol=5e-5)
        np.testing.assert_allclose(tokens.pooled, expected[1], atol=5e-5)
        np.testing.assert_array_equal(tokens.mask, MASK)


def test_what_stands_in_the_padding_changes_nothing(module_and_variables):
    module, variables = module_and_variables
    ours = run(module, variables, IDS, MASK)
    other = run(module, variables, np.where(MASK, IDS, 12), MASK)
    np.testing.assert_array_equal(ours.pooled, other.pooled)
    np.testing.assert_array_equal(np.asarray(ours.values)[MASK], np.asarray(other.values)[MASK])


def test_a_mask_may_be_of_integers(module_and_variables):
    module, variables = module_and_variables
    ours = run(module, variables, IDS, MASK)
    other = run(module, variables, IDS, MASK.astype(np.int32))  # another program: other rounding
    np.testing.assert_array_equal(ours.mask, other.mask)
    np.testing.assert_allclose(ours.values, other.values, rtol=1e-5, atol=1e-6)


def test_mean_pooling_and_pre_norm():
    module = TextTransformer(**{**SIZES, "depth": 1}, pooling="mean", norm="pre", eps=1e-5)
    variables = reference.random_variables(module, IDS, MASK, train=False)
    p = reference.double(variables["params"])
    assert "pooler" not in p
    assert "embeddings_norm" not in p
    x = (
        p["words"]["embedding"][IDS]
        + p["positions"]["embedding"][:5]
        + p["segments"]["embedding"][0]
    )
    x = reference.transformer(p["transformer"], x, MASK, norm="pre", eps=1e-5)
    tokens = run(module, variables, IDS, MASK)
    np.testing.assert_allclose(tokens.values, x, atol=2e-5)
    np.testing.assert_allclose(tokens.pooled, reference.masked_mean(x, MASK), atol=2e-5)


def test_an_empty_text_is_finite_and_its_gradient_too():
    module = TextTransformer(**{**SIZES, "depth": 1}, pooling="mean")
    variables = reference.random_variables(module, IDS, MASK, train=False)
    nothing = jnp.zeros((3, 5), bool)

    @jax.jit
    @jax.value_and_grad
    def total(params):
        tokens = module.apply({"params": params}, IDS, nothing, train=False)
        return tokens.values.sum() + tokens.pooled.sum()

    found = total(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
