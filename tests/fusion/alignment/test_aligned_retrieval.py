"""Aligned spaces retrieve: two views of the same latents through unrelated maps, and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mmjax.fusion import alignment

SHARED, CHANNELS, ROWS, HELD_OUT = 4, 8, 400, 100
KEY = jax.random.key(0, impl="rbg")


@pytest.fixture(scope="module")
def views():
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((ROWS + HELD_OUT, SHARED))
    return [
        latents @ rng.standard_normal((SHARED, CHANNELS))
        + 0.05 * rng.standard_normal((len(latents), CHANNELS))
        for _ in range(2)
    ]


def recall(views):
    """At 1, both ways, by the cosine of held-out rows."""
    a, b = (np.float64(one)[ROWS:] for one in views)
    a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (a, b))
    similar = a @ b.T
    own = np.arange(HELD_OUT)
    return np.mean([(one.argmax(axis=1) == own).mean() for one in (similar, similar.T)])


def aligned(views):
    """By CCA of the rows that are not held out."""
    found = alignment.cca(views[0][:ROWS], views[1][:ROWS], SHARED)
    return found.transform(views[0], "x"), found.transform(views[1], "y")


def test_cca(views):
    assert recall(views) < 0.06
    assert recall(aligned(views)) > 0.95


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(SHARED)(nn.tanh(nn.Dense(32)(x)))


def test_deep_cca(views):
    """Trained networks unbend what no linear map does; CCA of their outputs, as in the paper."""
    bent = [np.exp(view / 3) for view in views]
    bent = [(view - view[:ROWS].mean(axis=0)) / view[:ROWS].std(axis=0) for view in bent]
    network, adam = Network(), optax.adam(1e-2)

    @jax.jit
    def train(views):
        def loss(params):
            both = [network.apply(*pair) for pair in zip(params, views, strict=True)]
            return alignment.deep_cca_loss(both[0][:ROWS], both[1][:ROWS])

        def step(state, _):
            params, moments = state
            value, grads = jax.value_and_grad(loss)(params)
            updates, moments = adam.update(grads, moments)
            return (optax.apply_updates(params, updates), moments), value

        params = [network.init(key, views[0]) for key in jax.random.split(KEY)]
        (params, _), losses = jax.lax.scan(step, (params, adam.init(params)), length=60)
        return losses, [network.apply(*pair) for pair in zip(params, views, strict=True)]

    losses, outputs = train([jnp.asarray(view, jnp.float32) for view in bent])
    assert losses[-1] < losses[0] - 1.0
    assert recall(bent) < 0.06
    found = recall(aligned(np.asarray(outputs)))
    assert found > 0.85
    assert found > recall(aligned(bent)) + 0.1
