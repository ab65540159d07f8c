import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.encoders.convnext import ConvNeXt, ResponseNorm

RNG = np.random.default_rng(0)
PIXELS = RNG.standard_normal((16, 8, 8, 3)).astype(np.float32)


def test_drop_path_grows_from_nothing_to_its_rate():
    """With every weight of a block 0 but the last bias 1, a row counts the blocks that it kept."""
    module = ConvNeXt(patch=4, channels=(4,), depths=(3,), layer_scale=None, drop_path=0.5)
    variables = jax.tree.map(np.zeros_like, reference.random_variables(module, PIXELS, train=False))
    for layer in variables["params"]["stage_0"].values():
        layer["down"]["bias"] += 1
    run = jax.jit(lambda key: module.apply(variables, PIXELS, train=True, rngs={"dropout": key}))
    rows = np.concatenate([run(jax.random.key(i)).values[:, 0, 0] for i in range(20)])
    # Block 1 stays, block 2 stays with 3/4 (then counts 4/3), block 3 with 1/2 (then 2).
    for kept, share in ((1, 1 / 8), (1 + 4 / 3, 3 / 8), (3, 1 / 8), (1 + 4 / 3 + 2, 3 / 8)):
        found = np.isclose(rows, kept, atol=1e-5).mean()
        assert abs(found - share) < 0.1, kept
    assert np.isclose(run(jax.random.key(0)).values, run(jax.random.key(0)).values).all()
    still = module.apply(variables, PIXELS[:1], train=False)
    np.testing.assert_allclose(still.values, 3.0)


@pytest.mark.slow
def test_scanned_stages_equal_unrolled_ones():
    module = ConvNeXt(channels=(4, 6), depths=(2, 1), layer_scale=0.5, drop_path=0.5)
    variables = reference.random_variables(module, PIXELS[:2], train=False)
    scanned = {**variables["params"]}
    for stage in ("stage_0", "stage_1"):
        layers = [scanned[stage][name] for name in sorted(scanned[stage])]
        scanned[stage] = {"layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}
    ours = jax.jit(lambda v: module.apply(v, PIXELS[:2], train=False))(variables)
    other = jax.jit(lambda v: module.copy(scan=True).apply(v, PIXELS[:2], train=False))(
        {"params": scanned}
    )
    np.testing.assert_allclose(ours.pooled, other.pooled, rtol=1e-5, atol=1e-6)
    train = jax.jit(
        lambda v: module.copy(scan=True).apply(
            v, PIXELS[:2], train=True, rngs={"dropout": jax.random.key(0)}
        )
    )({"params": scanned})
    assert np.isfinite(train.pooled).all()


def test_response_norm_of_nothing_has_a_gradient():
    module = ResponseNorm()
    zeros = jnp.zeros((1, 2, 2, 3))
    variables = jax.tree.map(jnp.asarray, reference.random_variables(module, zeros))
    slope = jax.grad(lambda x: module.apply(variables, x).sum())(zeros)
    assert np.isfinite(slope).all()
