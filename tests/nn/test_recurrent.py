"""One layer against a loop over steps, and its gradients against differences of that loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.kernels.platforms import default_alone
from mmjax.nn.recurrent import GATES, Recurrent
from mmjax.parallel.sharding import unbox

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((4, 5, 3)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(p, x, state):
    h, c = state
    i, f, g, o = np.split(x @ p["input"]["kernel"] + h @ p["hidden_kernel"] + p["bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(p, x, state):
    """As torch's: the reset gate multiplies the product with the hidden state."""
    (h,) = state
    own = np.split(h @ p["hidden_kernel"], 3)
    r, z, n = np.split(x @ p["input"]["kernel"] + p["bias"], 3)
    r, z = sigmoid(r + own[0]), sigmoid(z + own[1])
    n = np.tanh(n + r * (own[2] + p["new_bias"]))
    return ((1 - z) * n + z * h,)


STEPS = {"lstm": lstm, "gru": gru}


def loop(p, cell, reverse, hidden=4):
    """Row by row over the valid positions alone, whichever they are."""
    states = np.zeros((*MASK.shape, hidden))
    last = np.zeros((len(MASK), hidden))
    for row in range(len(MASK)):
        state = tuple(np.zeros(hidden) for _ in range(2 if cell == "lstm" else 1))
        for position in np.flatnonzero(MASK[row])[:: -1 if reverse else 1]:
            state = STEPS[cell](p, np.float64(VALUES[row, position]), state)
            states[row, position] = state[0]
        last[row] = state[0]
    return states, last


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", sorted(GATES))
def test_agrees_with_a_loop_over_the_valid_positions(cell, reverse):
    module = Recurrent(hidden=4, cell=cell, reverse=reverse)
    variables = reference.random_variables(module, jnp.asarray(VALUES), jnp.asarray(MASK))
    states, last = jax.jit(module.apply)(variables, VALUES, MASK)
    expected = loop(reference.double(variables["params"]), cell, reverse)
    np.testing.assert_allclose(states, expected[0], atol=1e-6)
    np.testing.assert_allclose(last, expected[1], atol=1e-6)
    # For programs of no platform a loop backwards is one forwards over what is turned round.
    with default_alone():
        traced = jax.make_jaxpr(module.apply)(variables, VALUES, MASK)
        turned = module.apply(variables, jnp.asarray(VALUES), jnp.asarray(MASK))
    assert "reverse=True" not in str(traced)
    np.testing.assert_allclose(turned[0], states, atol=1e-6)
    np.testing.assert_allclose(turned[1], last, atol=1e-6)


@pytest.mark.parametrize("cell", sorted(GATES))
def test_gradients_are_those_of_differences(cell):
    """Of a sum that weighs every hidden state; the differences are of the loop, in float64."""
    module = Recurrent(hidden=4, cell=cell, reverse=True)
    variables = reference.random_variables(module, jnp.asarray(VALUES), jnp.asarray(MASK))
    weights = np.random.default_rng(1).standard_normal((4, 5, 4))

    def total(params, values):
        states, last = module.apply({"params": params}, values, jnp.asarray(MASK))
        return jnp.sum(states * weights.astype(np.float32)) + jnp.sum(last * weights[:, 0])

    slopes, value_slopes = jax.jit(jax.grad(total, argnums=(0, 1)))(
        variables["params"], jnp.asarray(VALUES)
    )
    assert not np.asarray(value_slopes)[~MASK].any()
    params = reference.double(variables["params"])

    def exact(params):
        states, last = loop(params, cell, True)
        return (states * weights).sum() + (last * weights[:, 0]).sum()

    step = 1e-6
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        found = functools.reduce(lambda tree, key: tree[key.key], path, slopes)
        for index in [(0,) * leaf.ndim, tuple(size - 1 for size in leaf.shape)]:
            kept = leaf[index]
            leaf[index] = kept + step
            above = exact(params)
            leaf[index] = kept - step
            slope = (above - exact(params)) / (2 * step)
            leaf[index] = kept
            np.testing.assert_allclose(found[index], slope, rtol=1e-4, atol=1e-5)


def test_the_forget_gate_starts_open_and_hidden_kernels_orthogonal():
    module = Recurrent(hidden=4)
    params = unbox(jax.jit(module.init)(jax.random.key(0), VALUES, MASK))["params"]
    np.testing.assert_array_equal(params["bias"], np.repeat([0, 1, 0, 0], 4))
    for gate in np.split(np.asarray(params["hidden_kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(4), atol=1e-6)
