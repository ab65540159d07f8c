import functools

import jax
import numpy as np
import reference

from mmjax.encoders.table_mlp import TableMLP

NUMBERS = np.array([[0.5, -2.0], [1.5, np.nan]], np.float32)
KNOWN = np.array([[1, 1], [1, 0]], bool)
CATEGORIES = np.array([[2, 0, 1], [0, 3, 0]], np.int32)


def test_one_vector_a_row():
    module = TableMLP(numbers=2, cardinalities=(3, 4, 2), category_width=3, hidden=(7, 5), width=4)
    fields = {"numbers": NUMBERS, "number_mask": KNOWN, "categories": CATEGORIES}
    variables = reference.random_variables(module, **fields, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, **fields)
    p = reference.double(variables["params"])
    tables = np.split(p["categories"]["embedding"], [3, 7])
    categories = [table[CATEGORIES[:, i]] for i, table in enumerate(tables)]
    x = np.concatenate([[[0.5, -2.0, 0, 0], [1.5, 0, 0, 1]], *categories], axis=1)
    for index in range(2):
        x = np.maximum(reference.dense(p[f"hidden_{index}"], x), 0)
    x = reference.dense(p["out"], x)
    np.testing.assert_allclose(tokens.pooled, x, atol=2e-5)
    np.testing.assert_array_equal(tokens.values[:, 0], tokens.pooled)
    assert tokens.mask.all()
