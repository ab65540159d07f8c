import jax
import jax.numpy as jnp
import numpy as np
import reference

from mmjax.fusion.blocks import CrossFirstBlock
from mmjax.nn.gated_block import TanhGatedBlock

RNG = np.random.default_rng(0)
VALUES = jnp.asarray(RNG.standard_normal((2, 3, 4)), jnp.float32)
MASK = jnp.array([[1, 1, 0], [1, 1, 1]], bool)
CONTEXT = [jnp.asarray(RNG.standard_normal((2, length, 4)), jnp.float32) for length in (2, 5)]
CONTEXT_MASK = [jnp.array([[1, 0], [1, 1]], bool), jnp.ones((2, 5), bool)]
GIVEN = (VALUES, MASK, CONTEXT, CONTEXT_MASK)


def test_gates_begin_as_the_identity():
    block = TanhGatedBlock(heads=2, mlp_dim=8, cross_attention=True)
    keys = jax.random.key(0, impl="rbg")
    output = jax.jit(lambda: block.init_with_output(keys, *GIVEN, train=False)[0])()
    np.testing.assert_array_equal(output, VALUES)


def test_cross_attention_first_with_norms_after():
    """As LXMERT: the sum is normalised, and the context as it is."""
    block = CrossFirstBlock(heads=2, mlp_dim=8, norm="post", cross_attention=True)
    params = reference.random_variables(block, *GIVEN, train=False)["params"]
    found = jax.jit(lambda: block.apply({"params": params}, *GIVEN, train=False))()
    p, x = reference.double(params), np.float64(VALUES)
    context = np.concatenate([np.float64(one) for one in CONTEXT], axis=1)
    mask = np.concatenate(CONTEXT_MASK, axis=1)
    x = x + reference.multi_head(p["cross_attention"], x, context, mask)
    x = reference.layer_norm(p["cross_attention_norm"], x, 1e-6)
    x = x + reference.multi_head(p["attention"], x, x, np.asarray(MASK))
    x = reference.layer_norm(p["attention_norm"], x, 1e-6)
    x = reference.layer_norm(p["mlp_norm"], x + reference.mlp(p["mlp"], x), 1e-6)
    np.testing.assert_allclose(found, x, atol=1e-5)
