import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.nn.attention import Attention, causal_mask

RNG = np.random.default_rng(0)
OWN = jnp.asarray(RNG.standard_normal((3, 4, 8)), jnp.float32)
CONTEXT = jnp.asarray(RNG.standard_normal((3, 5, 6)), jnp.float32)
MASK = jnp.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)


def test_self_attention_under_a_mask():
    module = Attention(heads=2)
    mask = MASK[:, :4]
    variables = reference.random_variables(module, OWN, mask=mask, train=False)
    run = jax.jit(functools.partial(module.apply, train=False))
    expected = reference.multi_head(
        reference.double(variables["params"]), np.float64(OWN), np.float64(OWN), np.asarray(mask)
    )
    np.testing.assert_allclose(run(variables, OWN, mask=mask), expected, atol=1e-5)
    unmasked = reference.multi_head(
        reference.double(variables["params"]), np.float64(OWN), np.float64(OWN), None
    )
    np.testing.assert_allclose(run(variables, OWN), unmasked, atol=1e-5)


@pytest.fixture(scope="module")
def cross():
    """Output, sown weights and all gradients of cross-attention to a context of another width."""
    module = Attention(heads=2, head_dim=3)
    variables = reference.random_variables(module, OWN, CONTEXT, mask=MASK, train=False)
    weights = jnp.asarray(RNG.standard_normal(OWN.shape), jnp.float32)

    @jax.jit
    def run(params, own, context):
        def loss(params, own, context):
            output, kept = module.apply(
                {"params": params}, own, context, mask=MASK, train=False, mutable=["intermediates"]
            )
            return jnp.sum(output * weights), (output, kept["intermediates"]["weights"][0])

        return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(params, own, context)

    return variables["params"], run


def test_cross_attention(cross):
    params, run = cross
    _, (output, weights) = run(params, OWN, CONTEXT)
    assert weights.shape == (3, 2, 4, 5)
    expected = reference.multi_head(
        reference.double(params), np.float64(OWN), np.float64(CONTEXT), np.asarray(MASK)
    )
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_a_missing_context_adds_exactly_nothing(cross):
    params, run = cross
    (grads, own, context), (output, _) = run(params, OWN, CONTEXT)
    assert not np.asarray(output)[2].any()
    assert not np.asarray(own)[2].any()
    assert not np.asarray(context)[2].any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_padding_of_the_context_changes_nothing(cross):
    params, run = cross
    ours = run(params, OWN, CONTEXT)
    other = run(params, OWN, jnp.where(MASK[..., None], CONTEXT, 1e4))
    np.testing.assert_array_equal(ours[1][0], other[1][0])
    jax.tree.map(np.testing.assert_array_equal, ours[0], other[0])


def test_the_bias_of_the_keys_is_without_effect(cross):
    """It adds the same to all logits of a query: the one parameter whose gradient is always 0."""
    params, run = cross
    (grads, _, _), _ = run(params, OWN, CONTEXT)
    sizes = jax.tree.map(lambda g: float(jnp.abs(g).max()), grads)
    assert sizes["key"].pop("bias") < 1e-6
    assert min(jax.tree.leaves(sizes)) > 1e-2


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match=r"heads=3 do not divide the width 8.*2 or 4"):
        reference.shapes(Attention(heads=3), OWN, train=False)


def test_causal_masks_hide_what_comes_later_and_padding():
    found = np.asarray(causal_mask(jnp.array([[1, 1, 1], [1, 1, 0], [0, 1, 1]], bool)))
    expected = [
        [[1, 0, 0], [1, 1, 0], [1, 1, 1]],
        [[1, 0, 0], [1, 1, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 1, 1]],
    ]
    np.testing.assert_array_equal(found[:, 0], np.array(expected, bool))
