import functools

import jax
import jax.numpy as jnp
import numpy as np
import reference
from agreement import agree
from methods.bilinear import mcb
from tiny_tokens import make_tokens

from mmjax import fusion
from mmjax.fusion.bilinear import hashes


def test_compact():
    options = {"kind": "mcb", "sketch": 12, "seed": 5}
    agree("bilinear", functools.partial(mcb, sketch=12, seed=5), options)


def test_hashes_are_part_of_what_a_model_computes():
    places, signs = hashes("text", 6, 16, 0)
    np.testing.assert_array_equal(places, [6, 11, 11, 11, 7, 14])
    np.testing.assert_array_equal(signs, [1, 1, -1, -1, -1, -1])


def test_hashes_spread_and_differ():
    places, signs = hashes("text", 20_000, 10, 1)
    shares = np.bincount(places, minlength=10) / len(places)
    np.testing.assert_allclose(shares, 0.1, atol=0.01)
    assert abs(signs.mean()) < 0.03
    for other in (("image", 20_000, 10, 1), ("text", 20_000, 10, 2)):
        same = (hashes(*other)[0] == places).mean()
        assert abs(same - 0.1) < 0.01


def test_sketches_keep_inner_products():
    """Fukui et al. 2016, section 3.1: unbiased over the hashes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 16))
    found = []
    for seed in range(500):
        sketches = np.zeros((2, 64))
        for row, value in enumerate(x):
            place, sign = hashes("text", 16, 64, seed)
            np.add.at(sketches[row], place, value * sign)
        found.append(sketches[0] @ sketches[1])
    np.testing.assert_allclose(np.mean(found), x[0] @ x[1], atol=4 * np.std(found) / 500**0.5)


def test_a_product_of_zero_has_a_finite_gradient():
    module = fusion.build("bilinear", width=8)
    params = reference.random_variables(module, make_tokens(), train=False)
    zero = jax.tree.map(jnp.zeros_like, params["params"])
    kept = {name: one for name, one in params["params"].items() if name.endswith("_factors")}

    def loss(params):
        return module.apply({"params": params}, make_tokens(), train=False).pooled.sum()

    grads = jax.jit(jax.grad(loss))({**zero, **kept})
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(grads))
