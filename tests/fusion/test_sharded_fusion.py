"""Every fusion on data x fsdp x tensor gives what it gives on one device, gradients too."""

import jax
import numpy as np
import pytest
from agreement import Compiled
from methods import METHODS
from tiny_tokens import make_tokens

from mmjax.parallel.mesh import MeshConfig, make_mesh, traced_on
from mmjax.parallel.sharding import batch_sharding, variable_shardings

QUICK = {"concat": {}, "low_rank": {}, "cross_attention": {"queries": ("text",)}}
"""Those of every run, with less to compile; all others, and these in full, are slow."""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(pytest.param(name, less, id=f"{name}, quick") for name, less in QUICK.items()),
        *(pytest.param(name, {}, marks=pytest.mark.slow, id=name) for name in sorted(METHODS)),
    ],
)
def test_sharded_equals_unsharded(name, options):
    compiled, tokens = Compiled(name, {**METHODS[name].options, **options}), make_tokens()
    alone = compiled.run(tokens)
    mesh = make_mesh(MeshConfig(2, 2, 2))
    boxed = jax.eval_shape(lambda: compiled.module.init(jax.random.key(0), tokens, train=False))
    shardings = variable_shardings(boxed, mesh)["params"]
    params = jax.device_put(compiled.params, shardings)
    if any(not one.is_fully_replicated for one in jax.tree.leaves(shardings)):
        local = sum(leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(params))
        assert local < sum(leaf.size for leaf in jax.tree.leaves(params))
    run = jax.jit(traced_on(mesh, compiled._forward_and_backward))
    spread = run(params, jax.device_put(tokens, batch_sharding(mesh)), 1.0)
    flat = jax.tree.leaves_with_path(alone)
    for (path, ours), other in zip(flat, jax.tree.leaves(spread), strict=True):
        ours, other = np.float64(ours), np.float64(other)
        np.testing.assert_allclose(
            other, ours, rtol=0, atol=2e-5 * max(1.0, np.abs(ours).max()), err_msg=str(path)
        )
