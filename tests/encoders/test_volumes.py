import functools

import jax
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.volume_cnn import VolumeCNN
from mmjax.encoders.volume_transformer import VolumeTransformer

VOXELS = np.random.default_rng(0).standard_normal((2, 5, 8, 4, 1)).astype(np.float32)


def run(module, voxels=VOXELS):
    variables = reference.random_variables(module, voxels, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, voxels)
    return tokens, reference.double(variables["params"])


def convolved(p, x):
    out = np.zeros((*x.shape[:-1], p["kernel"].shape[-1]))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    for z, y, w in np.ndindex(3, 3, 3):
        part = padded[:, z : z + x.shape[1], y : y + x.shape[2], w : w + x.shape[3]]
        out += part @ p["kernel"][z, y, w]
    return out + p["bias"]


def residual(p, x, name):
    branch = reference.group_norm(p[f"{name}_norm_0"], convolved(p[f"{name}_conv_0"], x), 2)
    branch = convolved(p[f"{name}_conv_1"], np.maximum(branch, 0))
    branch = reference.group_norm(p[f"{name}_norm_1"], branch, 2)
    skip = p.get(f"{name}_skip")
    return np.maximum((x if skip is None else reference.dense(skip, x)) + branch, 0)


def test_the_residual_network_agrees_with_its_formula():
    module = VolumeCNN(channels=(4, 6), blocks=(1, 1), stem=(1, 2, 2), groups=2, width=8)
    tokens, p = run(module)
    x = np.float64(VOXELS).reshape(2, 5, 4, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
    x = residual(p, x.reshape(2, 5, 4, 2, 4), "stage_0_block_0")
    x = x[:, :4].reshape(2, 2, 2, 2, 2, 1, 2, 4).max(axis=(2, 4, 6))
    x = residual(p, x, "stage_1_block_0").reshape(2, 4, 6)
    np.testing.assert_allclose(tokens.values, reference.dense(p["tokens"], x), atol=5e-5)
    pooled = np.concatenate([x.mean(axis=1), x.max(axis=1)], axis=-1)
    np.testing.assert_allclose(tokens.pooled, reference.dense(p["pooled"], pooled), atol=5e-5)
    assert tokens.mask.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": (8, 8, 8)}, "volumes of 5 x 8 x 4 are too small.*at least 8 x 8 x 8"),
        ({"channels": (6,), "blocks": (1,), "groups": 4}, "cannot split 6 channels.*valid: 2"),
        ({"channels": (8,)}, "for 1 channels"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        reference.shapes(VolumeCNN(**options), VOXELS, train=False)


def patches(p, voxels):
    """Blocks of 2 x 2 x 2, flattened with the channels last, one at a time."""
    sizes = [size // 2 for size in voxels.shape[1:4]]
    blocks = [
        np.float64(voxels[:, 2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2])
        for z, y, x in np.ndindex(*sizes)
    ]
    flat = np.stack([block.reshape(len(voxels), -1) for block in blocks], axis=1)
    return reference.dense(p["patches"]["projection"], flat)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_transformer_is_a_vit_over_blocks(pooling):
    size = (4, 8, 4) if pooling == "mean" else (4, 4, 4)
    options = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16, "pooling": pooling}
    tokens, p = run(VolumeTransformer(volume_size=size, patch=2, **options))
    positions = p["positions"]
    if pooling == "cls":  # Twice as many rows: those between are a quarter of the way.
        grid = positions[0, 1:].reshape(2, 2, 2, 8)
        a, b = grid[:, :1], grid[:, 1:]
        grid = np.concatenate([a, 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b, b], axis=1)
        positions = np.concatenate([positions[:, :1], grid.reshape(1, 16, 8)], axis=1)
    first = np.broadcast_to(p["class_token"], (2, 1, 8))
    x = np.concatenate([first, patches(p, VOXELS)], axis=1) + positions
    x = reference.transformer(p["transformer"], x, np.ones((2, 17), bool), norm="pre", eps=1e-6)
    np.testing.assert_allclose(tokens.values, x, atol=5e-5)
    pooled = x[:, 1:].mean(axis=1) if pooling == "mean" else x[:, 0]
    np.testing.assert_allclose(tokens.pooled, pooled, atol=5e-5)
