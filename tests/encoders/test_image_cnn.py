import functools

import jax
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.image_cnn import ImageCNN

PIXELS = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)


def test_agrees_with_its_formula():
    module = ImageCNN(
        channels=(8, 12),
        blocks=(1, 1),
        groups=4,
        width=6,
        pools=("mean", "max", "quadrants", "early_mean"),
    )
    variables = reference.random_variables(module, PIXELS, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, PIXELS)
    p = reference.double(variables["params"])

    def activated(x, name):
        x = reference.convolution(x, p[name]["kernel"], pad=1) + p[name]["bias"]
        return reference.gelu_tanh(reference.group_norm(p[f"{name}_norm"], x, 4))

    def stage(x, name):
        x = activated(x, name)
        return x + p[f"{name}_block_0_scale"] * activated(x, f"{name}_block_0")

    x = (
        np.float64(PIXELS)
        .reshape(2, 4, 2, 4, 2, 3)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(2, 4, 4, 12)
    )
    x = stage(x, "stage_0")
    x = x.reshape(2, 2, 2, 2, 2, 8).max(axis=(2, 4))
    x = stage(x, "stage_1")
    pooled = [x.mean((1, 2)), x.max((1, 2)), x.reshape(2, 48), x.mean((1, 2))]
    pooled = reference.dense(p["pooled"], np.concatenate(pooled, axis=-1))
    expected = reference.layer_norm(p["pooled_norm"], pooled, 1e-6)
    np.testing.assert_allclose(tokens.pooled, expected, atol=2e-5)
    expected = reference.dense(p["tokens"], x.reshape(2, 4, 12))
    np.testing.assert_allclose(tokens.values, expected, atol=2e-5)
    assert tokens.mask.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": 4}, "pictures of 8 x 40 are too small.*at least 16 x 16"),
        ({"pools": ("quadrants",)}, "pictures of 8 x 40 are too small.*at least 16 x 16"),
        ({"groups": 3}, "cannot split 8 channels into groups=3"),
        ({"groups": 12}, "nearest valid: 4"),
        ({"blocks": (0, 0)}, "2 blocks for 3 channels"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    """An empty grid has no mean: training would start with NaN."""
    module = ImageCNN(**{"channels": (8, 8, 8), "blocks": (0, 0, 0), **options})
    pixels = np.zeros((1, 8, 40, 3), np.float32)
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(functools.partial(module.init, train=False), jax.random.key(0), pixels)


def test_the_smallest_picture_that_works():
    module = ImageCNN(channels=(8, 8, 8), blocks=(0, 0, 0), pools=("max", "quadrants"), width=4)
    pixels = np.zeros((1, 16, 17, 3), np.float32)
    tokens, _ = jax.eval_shape(
        functools.partial(module.init_with_output, train=False), jax.random.key(0), pixels
    )
    assert tokens.values.shape == (1, 4, 4)
