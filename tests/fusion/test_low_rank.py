import jax
import numpy as np
from tiny_tokens import make_tokens

from mmjax import fusion
from mmjax.parallel.sharding import unbox

KEY = jax.random.key(0, impl="rbg")


def test_as_initialised():
    """Every factor learns from the first step on, and an absent modality is neutral."""
    tokens = make_tokens()
    module = fusion.build("low_rank", width=8, rank=3)

    @jax.jit
    def run():
        params = unbox(module.init(KEY, tokens, train=False))["params"]

        def loss(params):
            pooled = module.apply({"params": params}, tokens, train=False).pooled
            return (pooled**2).sum(), pooled

        two = {name: tokens[name] for name in ("audio", "image")}
        return *jax.grad(loss, has_aux=True)(params), module.apply(
            {"params": params}, two, train=False
        ).pooled

    grads, pooled, of_two = run()
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        if "_tokens" not in str(path):
            assert np.abs(np.asarray(grad)).max() > 1e-3, path
    np.testing.assert_allclose(pooled[1], of_two[1], atol=1e-6)
