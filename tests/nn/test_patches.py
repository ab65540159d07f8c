import jax
import jax.numpy as jnp
import numpy as np
import reference

from mmjax.nn.patches import PatchEmbed


def test_equals_a_strided_convolution():
    pixels = np.random.default_rng(0).standard_normal((2, 9, 11, 3)).astype(np.float32)
    module = PatchEmbed(patch=4, width=6)
    variables = reference.random_variables(module, jnp.asarray(pixels))
    found = jax.jit(module.apply)(variables, pixels)
    p = variables["params"]["projection"]
    kernel = p["kernel"].reshape(4, 4, 3, 6)
    for expected in (
        jax.lax.conv_general_dilated(
            pixels, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        reference.convolution(np.float64(pixels), np.float64(kernel), stride=4),
    ):
        np.testing.assert_allclose(found, expected.reshape(2, 4, 6) + p["bias"], atol=1e-5)
