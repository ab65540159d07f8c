import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.nn.pooling import last_valid, masked_max, masked_mean, max_over

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((3, 5, 4)).astype(np.float32) - 3.0
MASK = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], bool)


def expected_max(values, mask):
    return np.stack(
        [
            row[kept].max(axis=0, initial=-9) if kept.any() else 0 * row[0]
            for row, kept in zip(values, mask, strict=True)
        ]
    )


def expected_last(values, mask):
    return np.stack(
        [
            row[np.flatnonzero(kept)[-1]] if kept.any() else 0 * row[0]
            for row, kept in zip(values, mask, strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (masked_mean, reference.masked_mean),
        (masked_max, expected_max),
        (last_valid, expected_last),
    ],
)
def test_pools_under_the_mask(pool, expected):
    weights = RNG.standard_normal((3, 4)).astype(np.float32)

    def run(values):
        pooled = pool(values, jnp.asarray(MASK))
        return jnp.sum(pooled * weights), pooled

    run = jax.jit(jax.value_and_grad(run, has_aux=True))
    (_, pooled), grads = run(jnp.asarray(VALUES))
    np.testing.assert_allclose(pooled, expected(np.float64(VALUES), MASK), atol=1e-6)
    assert not np.asarray(pooled)[2].any()
    (_, other), _ = run(jnp.where(MASK[..., None], VALUES, 1e30))
    np.testing.assert_array_equal(pooled, other)
    # Each channel's gradient is shared out among the valid tokens, and goes nowhere else.
    grads = np.asarray(grads)
    np.testing.assert_allclose(grads.sum(axis=1)[:2], weights[:2], rtol=1e-5)
    assert not grads[~MASK].any()


def test_masked_mean_of_bfloat16_is_summed_in_float32():
    values = jnp.full((1, 1024, 1), 1.0 + 2**-7, jnp.bfloat16)
    pooled = jax.jit(masked_mean)(values, jnp.ones((1, 1024), bool))
    assert float(pooled[0, 0]) == 1.0 + 2**-7


def test_max_over_gives_ties_to_the_first_and_shows_what_is_not_finite():
    values = jnp.array([[1.0, 3.0, 3.0], [-jnp.inf, -2.0, -5.0], [0.0, jnp.nan, 9.0]])
    found, grads = jax.jit(jax.value_and_grad(lambda v: max_over(v, 1)[:2].sum()))(values)
    assert float(found) == 1.0
    np.testing.assert_array_equal(grads, [[0, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert np.isnan(np.asarray(max_over(values, -1))[2])


def test_the_gradient_of_max_over_does_not_hang_on_rounding():
    """Compiled so, XLA computes the products twice and rounds them in two ways.

    No product equals its maximum then, and the gradient of `jnp.max` is 0 / 0.
    """
    values = jnp.asarray(RNG.standard_normal((64, 8, 4, 16)), jnp.float32)
    weights = jnp.asarray(RNG.standard_normal(16), jnp.float32)
    options: dict[str, bool | int] = {"xla_backend_optimization_level": 0}
    if "fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
        options["xla_cpu_use_fusion_emitters"] = True

    @functools.partial(jax.jit, compiler_options=options if jax.default_backend() == "cpu" else {})
    @jax.grad
    def slope(weights):
        return jnp.sum(max_over(values * weights + 0.1 * weights, 2) ** 2)

    sums = np.float64(values) + 0.1
    largest = np.take_along_axis(sums, (sums * np.float64(weights)).argmax(2)[:, :, None], 2)
    expected = 2 * np.float64(weights) * (largest**2).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(slope(weights), expected, rtol=1e-5)
