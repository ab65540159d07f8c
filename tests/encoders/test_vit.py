import functools

import jax
import numpy as np
import pytest
import reference

from mmjax.encoders.vit import ViT

PIXELS = np.random.default_rng(0).standard_normal((2, 8, 12, 3)).astype(np.float32)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_agrees_with_its_formula(pooling):
    """Dosovitskiy et al. 2021, equations 1 to 4, with the patches as a strided convolution."""
    module = ViT(
        image_size=(8, 12), patch=4, width=8, depth=1, heads=2, mlp_dim=16, pooling=pooling
    )
    variables = reference.random_variables(module, PIXELS, train=False)
    for name in ("patches", "class_token", "positions"):  # So small that the eps of a norm shows.
        small = jax.tree.map(lambda leaf: leaf * np.float32(1e-4), variables["params"][name])
        variables["params"][name] = small
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, PIXELS)
    p = reference.double(variables["params"])
    projection = p["patches"]["projection"]
    x = reference.convolution(PIXELS, projection["kernel"].reshape(4, 4, 3, 8), stride=4)
    x = x.reshape(2, 6, 8) + projection["bias"]
    x = np.concatenate([np.repeat(p["class_token"], 2, axis=0), x], axis=1) + p["positions"]
    x = reference.transformer(p["transformer"], x, norm="pre", eps=1e-12)
    np.testing.assert_allclose(tokens.values, x, atol=2e-5)
    expected = x[:, 0] if pooling == "cls" else x[:, 1:].mean(axis=1)
    np.testing.assert_allclose(tokens.pooled, expected, atol=2e-5)
