import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.encoders.table import FTTransformer, TableEncoder

NUMBERS = np.array([[0.5, -2.0], [1.5, 7.0]], np.float32)
KNOWN = np.array([[1, 1], [1, 0]], bool)
CATEGORIES = np.array([[2, 0, 1], [0, 3, 0]], np.int32)


def run(module, variables, **fields):
    return jax.jit(functools.partial(module.apply, train=False))(variables, **fields)


def columns(p, cardinalities=(3, 4, 2)):
    """One token a column: numbers, then categories, each category from its own rows."""
    numbers = NUMBERS[..., None] * p["number_kernel"] + p["number_bias"]
    numbers[1, 1] = p["number_bias"][1] + p["number_missing"][1]
    tables = np.split(p["categories"]["embedding"], np.cumsum(cardinalities)[:-1])
    categories = [table[CATEGORIES[:, i]] for i, table in enumerate(tables)]
    return np.concatenate([numbers, np.stack(categories, axis=1)], axis=1)


@pytest.mark.parametrize("depth", [0, 1])
def test_one_token_a_column(depth):
    module = TableEncoder(
        numbers=2, cardinalities=(3, 4, 2), width=8, depth=depth, heads=2, mlp_dim=16
    )
    fields = {"numbers": NUMBERS, "number_mask": KNOWN, "categories": CATEGORIES}
    variables = reference.random_variables(module, **fields, train=False)
    tokens = run(module, variables, **fields)
    p = reference.double(variables["params"])
    assert p["categories"]["embedding"].shape == (9, 8)
    x, mask = columns(p), np.ones((2, 5), bool)
    if depth:
        x = reference.transformer(p["transformer"], x, mask, norm="pre", eps=1e-6)
    np.testing.assert_allclose(tokens.values, x, atol=2e-5)
    np.testing.assert_allclose(tokens.pooled, x.mean(axis=1), atol=2e-5)
    assert tokens.mask.all()


def test_numbers_alone_or_categories_alone():
    for options, fields in (
        ({"numbers": 2}, {"numbers": NUMBERS}),
        ({"cardinalities": (3, 4, 2)}, {"categories": CATEGORIES}),
    ):
        module = TableEncoder(**options, width=8, depth=0)
        variables = reference.random_variables(module, **fields, train=False)
        length = sum(array.shape[1] for array in fields.values())
        assert run(module, variables, **fields).values.shape == (2, length, 8)


def test_a_missing_number_tells_nothing_whatever_stands_there():
    module = TableEncoder(numbers=2, width=8, depth=0)
    variables = reference.random_variables(module, NUMBERS, KNOWN, train=False)

    @jax.jit
    def total(params, numbers):
        return module.apply({"params": params}, numbers, KNOWN, train=False).pooled.sum()

    for other in (1e30, np.inf, np.nan):
        slopes = [
            jax.jit(jax.value_and_grad(total))(variables["params"], jnp.asarray(numbers))
            for numbers in (NUMBERS, np.where(KNOWN, NUMBERS, other))
        ]
        jax.tree.map(np.testing.assert_array_equal, *slopes)


def test_the_paper_has_a_class_token_gates_and_no_first_norm():
    module = FTTransformer(numbers=2, cardinalities=(3, 4, 2), width=8, depth=2, heads=2, mlp_dim=6)
    fields = {"numbers": NUMBERS, "number_mask": KNOWN, "categories": CATEGORIES}
    variables = reference.random_variables(module, **fields, train=False)
    tokens = run(module, variables, **fields)
    p = reference.double(variables["params"])
    x = np.concatenate([np.broadcast_to(p["class_token"], (2, 1, 8)), columns(p)], axis=1)

    def block(attention, attention_norm, mlp, mlp_norm, x):
        inputs = x if attention_norm is None else reference.layer_norm(attention_norm, x, 1e-6)
        x = x + reference.multi_head(attention, inputs, inputs, None)
        inputs = reference.layer_norm(mlp_norm, x, 1e-6)
        gates = np.maximum(reference.dense(mlp["gate"], inputs), 0)
        return x + reference.dense(mlp["down"], gates * reference.dense(mlp["up"], inputs))

    x = block(p["first_attention"], None, p["first_mlp"], p["first_mlp_norm"], x)
    layers = p["transformer"]["stack"]
    assert list(layers) == ["layer_0"]
    layer = layers["layer_0"]
    x = block(*(layer[n] for n in ("attention", "attention_norm", "mlp", "mlp_norm")), x)
    x = reference.layer_norm(p["transformer"]["norm"], x, 1e-6)
    np.testing.assert_allclose(tokens.values, x, atol=2e-5)
    np.testing.assert_array_equal(tokens.pooled, tokens.values[:, 0])
