"""Moments in fewer bytes: against their closed forms, and training beside that in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import variable_shardings
from mmjax.train.config import OptimizerConfig
from mmjax.train.moments import BLOCK, Quantised, kept_in, quantised, restored, rounded_at_random
from mmjax.train.optim import make_optimizer

SHAPE = (40, 128)


def values(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_eight_bits_are_within_half_a_step_of_each_block():
    given = values(shape=(7, 150)) * np.geomspace(1e-6, 1e3, 7)[:, None].astype(np.float32)
    packed = quantised(given, root=False)
    assert packed.codes.dtype == jnp.int8
    assert packed.codes.shape == given.shape
    assert packed.scales.shape == (7, -(-150 // BLOCK))
    padded = np.pad(given, [(0, 0), (0, -150 % BLOCK)]).reshape(7, -1, BLOCK)
    most = np.abs(padded).max(-1)
    step = np.repeat(most / 127, BLOCK, -1)[:, :150]
    found = np.asarray(restored(packed, root=False))
    assert (np.abs(found - given) <= step * 0.501).all()


def test_second_moments_keep_small_values():
    """By the fourth root, a value a ten-thousandth of the largest is off by a tenth at most."""
    given = np.geomspace(1e-4, 1.0, BLOCK, dtype=np.float32)[None]
    found = np.asarray(restored(quantised(given, root=True), root=True))
    assert (np.abs(found / given - 1) < 0.1).all()
    assert not np.asarray(restored(quantised(np.zeros((1, BLOCK)), root=True), root=True)).any()


def test_random_rounding_keeps_the_mean_and_goes_to_neighbours():
    exact = np.float32(1 + 2**-9)  # a quarter of the way from 1 to the next, 1 + 2^-7
    given = jnp.full((100, 1000), exact)
    found = np.asarray(rounded_at_random(given, jnp.int32(3)).astype(jnp.float32))
    assert {*np.unique(found)} == {1.0, 1 + 2.0**-7}
    assert np.mean(found == 1 + 2.0**-7) == pytest.approx(0.25, abs=0.01)
    again = np.asarray(rounded_at_random(given, jnp.int32(4)).astype(jnp.float32))
    assert (found != again).any()
    assert np.isinf(rounded_at_random(jnp.array([np.inf]), 0).astype(jnp.float32)).all()


def make(moments, **settings):
    config = OptimizerConfig(
        learning_rate=0.05, max_grad_norm=None, weight_decay=0.0, moments=moments, **settings
    )
    return make_optimizer(config, optax.constant_schedule(0.05))


def size(state):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("moments", "name", "share"),
    [("bfloat16", "adamw", 0.5), ("int8", "adamw", 0.27), ("int8", "lion", 0.27),
     ("bfloat16", "sgd", 0.5)],
)  # fmt: skip
def test_a_first_step_is_the_rules_own_and_the_state_is_small(moments, name, share):
    """Before anything is rounded, the update is that of moments in float32, bit for bit."""
    params = {"kernel": jnp.asarray(values()), "bias": jnp.zeros(SHAPE[-1])}
    grads = {"kernel": jnp.asarray(values(1)), "bias": jnp.ones(SHAPE[-1])}
    plain, small = make("", name=name), make(moments, name=name)
    expected, whole = plain.update(grads, plain.init(params), params)
    found, state = small.update(grads, small.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert size(state) < share * size(whole) + 4096
    assert jax.tree.structure(small.init(params)) == jax.tree.structure(state)


@pytest.mark.parametrize("moments", ["bfloat16", "int8"])
def test_training_stays_near_that_in_float32(moments):
    """Least squares by 150 steps of Adam: as good as in float32, at nearly the same parameters."""
    inputs, truth = jnp.asarray(values(2, (256, 40))), jnp.asarray(values(3))
    targets = inputs @ truth

    def loss(params):
        return jnp.mean((inputs @ params["kernel"] - targets) ** 2)

    def train(moments):
        rule = make(moments)

        def step(carry, _):
            params, state = carry
            updates, state = rule.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        params = {"kernel": jnp.zeros(SHAPE)}
        (params, _), _ = jax.jit(
            lambda: jax.lax.scan(step, (params, rule.init(params)), None, length=150)
        )()
        return params

    plain, small = train(""), train(moments)
    start = float(loss({"kernel": jnp.zeros(SHAPE)}))
    assert float(loss(plain)) < 1e-3 * start
    assert float(loss(small)) < 2e-3 * start
    apart = np.linalg.norm(plain["kernel"] - small["kernel"])
    assert apart < 0.02 * np.linalg.norm(plain["kernel"])


def test_codes_lie_as_their_parameter_does():
    mesh = make_mesh(MeshConfig(2, 2, 2), jax.local_devices())
    params = {"kernel": nn.Partitioned(jnp.zeros((64, 128)), ("embed", "mlp"))}
    state = jax.eval_shape(kept_in(optax.scale_by_adam(), "int8").init, params)
    found = variable_shardings({"opt_state": (state,)}, mesh)["opt_state"][0]
    packed = found.mu["kernel"]
    assert isinstance(packed, Quantised)
    assert packed.codes.spec == P("fsdp", "tensor")
    assert packed.scales.spec == P("fsdp", None)
