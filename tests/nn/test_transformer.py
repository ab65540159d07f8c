import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.nn.transformer import Block, Mlp, Transformer

RNG = np.random.default_rng(0)
VALUES = jnp.asarray(RNG.standard_normal((3, 4, 8)), jnp.float32)
CONTEXT = jnp.asarray(RNG.standard_normal((3, 5, 6)), jnp.float32)
MASK = jnp.array([[1, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
CONTEXT_MASK = jnp.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(
    ("parts", "eps"),
    [
        ({}, 1e-12),
        ({"cross_attention": True}, 1e-6),
        ({"self_attention": False, "cross_attention": True}, 1e-2),
    ],
    ids=["self", "self and cross", "cross"],
)
def test_block_agrees_with_its_formula(norm, parts, eps):
    module = Block(heads=2, mlp_dim=16, norm=norm, eps=eps, **parts)
    inputs = (VALUES, MASK, CONTEXT, CONTEXT_MASK)
    variables = reference.random_variables(module, *inputs, train=False)
    found = jax.jit(functools.partial(module.apply, train=False))(variables, *inputs)
    masks = (np.asarray(MASK), np.float64(CONTEXT), np.asarray(CONTEXT_MASK))
    params = reference.double(variables["params"])
    expected = reference.block(params, np.float64(VALUES), *masks, norm=norm, eps=eps)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("gelu_tanh", reference.gelu_tanh),
        ("relu", lambda x: np.maximum(x, 0)),
        ("silu", lambda x: x / (1 + np.exp(-x))),
        ("tanh", np.tanh),
    ],
)
def test_activations(activation, expected):
    module = Mlp(hidden=16, activation=activation)
    variables = reference.random_variables(module, VALUES, train=False)
    found = jax.jit(functools.partial(module.apply, train=False))(variables, VALUES)
    params = reference.double(variables["params"])
    np.testing.assert_allclose(
        found, reference.mlp(params, np.float64(VALUES), expected), atol=1e-5
    )


def test_pre_norm_stacks_end_with_a_norm_and_post_norm_stacks_do_not():
    for norm, last in (("pre", True), ("post", False)):
        module = Transformer(depth=1, heads=2, mlp_dim=16, norm=norm)
        assert ("norm" in reference.shapes(module, VALUES, MASK, train=False)["params"]) is last


def test_dropout_needs_train():
    module = Transformer(depth=1, heads=2, mlp_dim=16, dropout=0.5, attention_dropout=0.5)
    variables = reference.random_variables(module, VALUES, MASK, train=False)
    run = jax.jit(module.apply, static_argnames="train")
    key = {"dropout": jax.random.key(0, impl="rbg")}
    still = run(variables, VALUES, MASK, train=False)
    np.testing.assert_array_equal(still, run(variables, VALUES, MASK, train=False, rngs=key))
    assert not np.allclose(still, run(variables, VALUES, MASK, train=True, rngs=key))


def test_layer_drop_leaves_out_the_whole_block_for_the_whole_batch():
    module = Block(heads=2, mlp_dim=16, layer_drop=0.5)
    variables = reference.random_variables(module, VALUES, MASK, train=False)
    run = jax.jit(module.apply, static_argnames="train")
    whole = run(variables, VALUES, MASK, train=False)
    left_out = 0
    for seed in range(40):
        rngs = {"dropout": jax.random.key(seed, impl="rbg")}
        found = run(variables, VALUES, MASK, train=True, rngs=rngs)
        if np.array_equal(found, VALUES):
            left_out += 1
        else:
            np.testing.assert_allclose(found, whole, atol=1e-6)
    assert 10 <= left_out <= 30


@pytest.mark.parametrize("scan", [False, True])
def test_drop_path_may_grow_from_nothing_to_its_rate(scan):
    """With all weights 0 but the MLPs' last biases 1, a row counts the blocks that it kept."""
    settings = {"heads": 2, "mlp_dim": 4, "final_norm": False, "scan": scan}
    module = Transformer(depth=3, drop_path=0.5, drop_path_grows=True, **settings)
    rows = jnp.zeros((400, 1, 8))
    variables = reference.random_variables(module, rows, train=False)
    params = jax.tree.map(np.zeros_like, variables["params"]["stack"])
    for layer in params.values():
        layer["mlp"]["down"]["bias"] += 1
    keys = {"dropout": jax.random.key(0)}
    run = jax.jit(lambda p: module.apply({"params": {"stack": p}}, rows, train=True, rngs=keys))
    found = np.asarray(run(params))[:, 0, 0]
    # The second block stays with 3/4 and then counts 4/3, the third with 1/2 and counts 2.
    for kept, share in ((1, 1 / 8), (1 + 4 / 3, 3 / 8), (3, 1 / 8), (1 + 4 / 3 + 2, 3 / 8)):
        assert abs(np.isclose(found, kept, atol=1e-5).mean() - share) < 0.08
