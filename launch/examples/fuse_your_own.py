"""Two encoders of your own, fused by a method of the library, trained by Optax in a plain loop.

python launch/examples/fuse_your_own.py

Nothing of the trainer, of configs or of run folders is needed: an encoder is any Linen module that
returns `Tokens`, a fusion is a Linen module that takes them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import mmjax
from mmjax.core.types import Tokens


class Words(nn.Module):
    """An embedding of each word, and their mean."""

    @nn.compact
    def __call__(self, ids: jax.Array) -> Tokens:
        values = nn.Embed(32, 16)(ids)
        return Tokens(values, ids > 0, values.mean(axis=1))


class Sensor(nn.Module):
    """One token from a few numbers."""

    @nn.compact
    def __call__(self, numbers: jax.Array) -> Tokens:
        value = nn.tanh(nn.Dense(24)(numbers))
        return Tokens(value[:, None], jnp.ones((len(value), 1), bool), value)


class Model(nn.Module):
    """Both, fused by gates, and a head."""

    @nn.compact
    def __call__(self, ids: jax.Array, numbers: jax.Array) -> jax.Array:
        tokens = {"words": Words()(ids), "sensor": Sensor()(numbers)}
        fused = mmjax.fusion.build("gated", width=16)(tokens, train=True)
        return nn.Dense(2)(fused.pooled)


rng = np.random.default_rng(0)
ids = rng.integers(1, 32, (256, 6))
numbers = rng.normal(size=(256, 3)).astype(np.float32)
labels = ((ids > 16).sum(axis=1) + numbers[:, 0] > 3).astype(np.int32)

model, optimiser = Model(), optax.adam(1e-2)
params = model.init(jax.random.key(0), ids, numbers)
state = optimiser.init(params)


@jax.jit
def step(params, state):
    def loss(params):
        logits = model.apply(params, ids, numbers)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimiser.update(gradient, state)
    return optax.apply_updates(params, updates), state, value


first = None
for _ in range(300):
    params, state, value = step(params, state)
    first = value if first is None else first
print(f"loss {first:.3f} at first, {value:.3f} at last")
assert value < first
