"""Encoders from scratch on eight devices: losses and gradients are those of one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from test_from_scratch import CASES

from mmjax import encoders
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import batch_sharding, unbox, variable_shardings

QUICK = ("conv1d", "stream_rnn", "volume_cnn")
"""What has layers of its own; the others are dense layers and blocks, which have a test."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(CASES)],
)
def test_gradients_are_those_of_one_device(name):
    fields, options = CASES[name]
    fields = {field: np.resize(values, (8, *values.shape[1:])) for field, values in fields.items()}
    module = encoders.build(name, **options, dropout=0.0)
    mesh = make_mesh(MeshConfig(2, 2, 2))
    boxed = jax.eval_shape(lambda: module.init(jax.random.key(0), **fields, train=False))["params"]
    shardings = variable_shardings(boxed, mesh)
    params = reference.random_like(unbox(boxed))
    assert any(any(one.spec) for one in jax.tree.leaves(shardings))

    def loss(params, fields):
        tokens = module.apply({"params": params}, **fields, train=False)
        squares = jnp.where(tokens.mask[..., None], jnp.square(tokens.values), 0)
        return jnp.mean(tokens.pooled * jnp.arange(8)[:, None]) + jnp.mean(squares)

    slopes = jax.value_and_grad(loss)
    value, ours = jax.device_get(jax.jit(slopes)(params, fields))
    run = jax.jit(slopes, out_shardings=(None, shardings))
    other_value, others = jax.device_get(
        run(jax.device_put(params, shardings), jax.device_put(fields, batch_sharding(mesh)))
    )
    np.testing.assert_allclose(other_value, value, rtol=1e-5)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(others), strict=True
    ):
        np.testing.assert_allclose(
            b, a, atol=2e-5 * np.abs(a).max() + 1e-6, err_msg=jax.tree_util.keystr(path)
        )
