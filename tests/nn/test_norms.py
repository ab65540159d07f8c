import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.nn.norms import UnitOffsetRMSNorm, group_norm, layer_norm

SMALL = np.random.default_rng(0).standard_normal((2, 4, 4, 8)).astype(np.float32) * 1e-3
"""Of variance 1e-6, so that every eps shows."""


@pytest.mark.parametrize("eps", [1e-12, 1e-6, 1e-3])
def test_layer_norm_uses_its_eps(eps):
    module = layer_norm(name="norm", eps=eps)
    params = reference.random_like(
        {"scale": np.ones(8, np.float32), "bias": np.ones(8, np.float32)}
    )
    found = jax.jit(module.apply)({"params": params}, SMALL)
    expected = reference.layer_norm(reference.double(params), np.float64(SMALL), eps)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_constant_row_stays_finite():
    module = layer_norm(name="norm", eps=1e-12)
    params = {"scale": jnp.ones(8), "bias": jnp.zeros(8)}
    run = lambda x: module.apply({"params": params}, x)  # noqa: E731
    ones = jnp.ones((2, 8))
    found, grads = jax.jit(jax.value_and_grad(lambda x: run(x).sum()))(ones)
    assert float(found) == 0.0
    assert np.isfinite(np.asarray(grads)).all()


def test_group_norm():
    module = group_norm(name="norm", groups=4)
    params = reference.random_like(
        {"scale": np.ones(8, np.float32), "bias": np.ones(8, np.float32)}
    )
    found = jax.jit(module.apply)({"params": params}, SMALL)
    expected = reference.group_norm(reference.double(params), np.float64(SMALL), 4)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_statistics_of_bfloat16_inputs_are_in_float32():
    """4096 values of 256 +- 1: summed in bfloat16, mean and variance would be nonsense."""
    signs = np.where(np.arange(4096) % 2, 2.0, -2.0)
    values = jnp.asarray(256.0 + signs, jnp.bfloat16)[None]
    params = {"scale": jnp.ones(4096), "bias": jnp.zeros(4096)}
    found = jax.jit(layer_norm(name="norm", dtype=jnp.bfloat16).apply)({"params": params}, values)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(found, np.float32)[0], signs / 2, atol=1e-2)


def test_unit_offset_rms_norm():
    module = UnitOffsetRMSNorm(eps=1e-6)
    scale = np.linspace(-0.5, 0.5, 8, dtype=np.float32)
    found = jax.jit(module.apply)({"params": {"scale": scale}}, SMALL)
    wide = np.float64(SMALL)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * (1 + np.float64(scale))
    np.testing.assert_allclose(found, expected, atol=2e-6)
