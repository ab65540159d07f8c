import jax
import jax.numpy as jnp
import numpy as np
import reference

from mmjax.kernels.platforms import default_alone
from mmjax.nn.convolution import (
    Conv3D,
    conv,
    conv1d,
    grid_mean,
    max_pool,
    space_to_depth,
    window_max,
)

PIXELS = np.random.default_rng(0).standard_normal((2, 7, 5, 3)).astype(np.float32)


def test_conv_keeps_the_size_and_pads_with_zeros():
    module = conv(4, name="conv")
    variables = {
        "params": reference.random_like(
            {"kernel": np.ones((3, 3, 3, 4), np.float32), "bias": np.ones(4, np.float32)}
        )
    }
    found = jax.jit(module.apply)(variables, PIXELS)
    p = reference.double(variables["params"])
    expected = reference.convolution(PIXELS, p["kernel"], pad=1) + p["bias"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_conv1d_has_strides_groups_and_padding_of_either_side():
    values = np.random.default_rng(1).standard_normal((2, 9, 4)).astype(np.float32)
    module = conv1d(6, name="conv", kernel=3, stride=2, padding=(1, 2), groups=2)
    kernel = np.random.default_rng(2).standard_normal((3, 2, 6)).astype(np.float32)
    bias = np.arange(6, dtype=np.float32)
    found = jax.jit(module.apply)({"params": {"kernel": kernel, "bias": bias}}, values)
    padded = np.pad(values, ((0, 0), (1, 2), (0, 0))).astype(np.float64)
    assert found.shape == (2, 5, 6)
    for t, out in np.ndindex(5, 6):
        group = out // 3
        window = padded[:, 2 * t : 2 * t + 3, 2 * group : 2 * group + 2]
        expected = np.einsum("bki,ki->b", window, kernel[:, :, out]) + bias[out]
        np.testing.assert_allclose(found[:, t, out], expected, atol=1e-5)


def test_space_to_depth_is_row_column_channel_and_cuts_the_border():
    found = np.asarray(space_to_depth(jnp.asarray(PIXELS), 2))
    assert found.shape == (2, 3, 2, 12)
    for y, x, p, q, c in np.ndindex(3, 2, 2, 2, 3):
        np.testing.assert_array_equal(
            found[:, y, x, (p * 2 + q) * 3 + c], PIXELS[:, 2 * y + p, 2 * x + q, c]
        )


def test_max_pool_is_the_largest_of_each_square():
    found = np.asarray(max_pool(jnp.asarray(PIXELS)))
    assert found.shape == (2, 3, 2, 3)
    for y, x in np.ndindex(3, 2):
        square = PIXELS[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        np.testing.assert_array_equal(found[:, y, x], square.max(axis=(1, 2)))


def test_window_max_is_the_largest_of_each_window_by_either_way():
    values = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32) - 5
    expected = np.stack(
        [
            [values[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max(axis=(1, 2))]
            for y in range(0, 7, 2)
            for x in range(0, 6, 2)
        ]
    )
    expected = expected[:, 0].reshape(4, 3, 2, 3).transpose(2, 0, 1, 3)
    options = {"size": 3, "stride": 2, "border": 1}
    values = jnp.asarray(values)
    np.testing.assert_array_equal(window_max(values, **options), expected)
    with default_alone():
        traced = jax.make_jaxpr(lambda one: window_max(one, **options))(values)
        np.testing.assert_array_equal(window_max(values, **options), expected)
    assert "reduce_window" not in str(traced)


def test_grid_mean():
    np.testing.assert_allclose(grid_mean(jnp.asarray(PIXELS), 1), PIXELS.mean((1, 2)), atol=1e-6)
    found = np.asarray(grid_mean(jnp.asarray(PIXELS), 2)).reshape(2, 2, 2, 3)
    for y, x in np.ndindex(2, 2):
        cell = PIXELS[:, 3 * y : 3 * y + 3, 2 * x : 2 * x + 2]
        np.testing.assert_allclose(found[:, y, x], cell.mean((1, 2)), atol=1e-6)


VOLUMES = np.random.default_rng(1).standard_normal((2, 3, 4, 5, 2)).astype(np.float32)


def test_three_dimensions_one_kernel_position_at_a_time():
    module = Conv3D(channels=4)
    variables = reference.random_variables(module, jnp.asarray(VOLUMES))
    found = jax.jit(module.apply)(variables, VOLUMES)
    p = variables["params"]
    expected = np.zeros((2, 3, 4, 5, 4))
    padded = np.pad(np.float64(VOLUMES), ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    for z, y, x in np.ndindex(3, 3, 3):
        part = padded[:, z : z + 3, y : y + 4, x : x + 5]
        expected += np.einsum("bdhwc,co->bdhwo", part, np.float64(p["kernel"][z, y, x]))
    np.testing.assert_allclose(found, expected + p["bias"], atol=1e-5)


def test_one_dimension_with_dilation_and_padding_on_one_side():
    values = VOLUMES[:, :, 0, 0]
    module = conv1d(4, name="conv", kernel=2, dilation=2, padding=(2, 0))
    kernel = np.random.default_rng(2).standard_normal((2, 2, 4)).astype(np.float32)
    found = module.apply({"params": {"kernel": kernel, "bias": np.zeros(4)}}, values)
    expected = values @ kernel[1]
    expected[:, 2:] += values[:, :1] @ kernel[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
