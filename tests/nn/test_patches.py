import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.nn.patches import PatchEmbed

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("patch", [4, (2, 5)])
def test_equals_a_strided_convolution(patch):
    pixels = RNG.standard_normal((2, 9, 11, 3)).astype(np.float32)
    module = PatchEmbed(patch=patch, width=6)
    variables = reference.random_variables(module, jnp.asarray(pixels))
    found = jax.jit(module.apply)(variables, pixels)
    p = variables["params"]["projection"]
    strides = (patch, patch) if isinstance(patch, int) else patch
    expected = jax.lax.conv_general_dilated(
        pixels,
        p["kernel"].reshape(*strides, 3, 6),
        strides,
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    np.testing.assert_allclose(found, expected.reshape(2, -1, 6) + p["bias"], atol=1e-5)


def test_agrees_with_the_sum_over_each_square():
    pixels = RNG.standard_normal((2, 9, 11, 3)).astype(np.float32)
    module = PatchEmbed(patch=4, width=6)
    variables = reference.random_variables(module, jnp.asarray(pixels))
    found = jax.jit(module.apply)(variables, pixels)
    p = variables["params"]["projection"]
    kernel = np.float64(p["kernel"].reshape(4, 4, 3, 6))
    expected = reference.convolution(np.float64(pixels), kernel, stride=4)
    np.testing.assert_allclose(found, expected.reshape(2, 4, 6) + p["bias"], atol=1e-5)


def test_tubelets_of_clips_and_volumes():
    clip = RNG.standard_normal((1, 5, 4, 7, 2)).astype(np.float32)
    module = PatchEmbed(patch=(2, 4, 3), width=6, use_bias=False)
    variables = reference.random_variables(module, jnp.asarray(clip))
    assert set(variables["params"]["projection"]) == {"kernel"}
    kernel = np.float64(variables["params"]["projection"]["kernel"]).reshape(2, 4, 3, 2, 6)
    expected = np.einsum(
        "btphqwrc,pqrcd->bthwd",
        np.float64(clip[:, :4, :, :6]).reshape(1, 2, 2, 1, 4, 2, 3, 2),
        kernel,
    )
    found = jax.jit(module.apply)(variables, clip)
    np.testing.assert_allclose(found, expected.reshape(1, 4, 6), atol=1e-5)


def test_a_patch_with_too_few_sizes_is_refused():
    with pytest.raises(ConfigError, match="3 axes"):
        PatchEmbed(patch=(2, 4), width=6).init(jax.random.key(0), jnp.zeros((1, 4, 4, 4, 1)))
