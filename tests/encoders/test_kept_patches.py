"""Encoders that are told which patches to look at."""

import functools

import jax
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core.errors import ConfigError
from mmjax.nn.masking import random_masking

RNG = np.random.default_rng(0)
BLOCKS = {"width": 8, "heads": 2, "mlp_dim": 16}
CASES = {
    "vit": (
        {"pixel_values": RNG.standard_normal((3, 8, 12, 3)).astype(np.float32)},
        {"image_size": (8, 12), "registers": 2, "distillation_token": True},
        6,
    ),
    "video_transformer": (
        {
            "pixel_values": RNG.standard_normal((3, 4, 8, 8, 3)).astype(np.float32),
            "frame_mask": np.arange(4) < np.array([[4], [2], [0]]),
        },
        {"frames": 4, "image_size": 8},
        8,
    ),
    "spectrogram_transformer": (
        {
            "input_features": RNG.standard_normal((3, 12, 4)).astype(np.float32),
            "attention_mask": np.arange(12) < np.array([[12], [5], [0]]),
        },
        {"patch": 2, "frequency_stride": 2, "time_stride": 2, "max_frames": 12, "mel_bins": 4},
        12,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """The module without blocks and with one, its inputs, and how many patches there are."""
    fields, options, count = CASES[request.param]
    build = functools.partial(encoders.build, request.param, **BLOCKS, **options)
    return build(depth=0), build(depth=1), fields, count


def run(module, fields, *keeps):
    """The tokens of all patches, and of those of each `keep`."""
    variables = reference.random_variables(module, **fields, train=False)
    apply = jax.jit(functools.partial(module.apply, train=False))
    return [apply(variables, **fields, **given) for given in ({}, *({"keep": k} for k in keeps))]


def test_kept_patches_are_theirs_with_their_positions(case):
    """Without blocks a token is what its patch and its place say."""
    bare, _, fields, count = case
    keep = np.asarray(random_masking(RNG.uniform(size=(3, count)), 3).keep)
    whole, part = run(bare, fields, keep)
    extra = whole.values.shape[1] - count
    rows = np.arange(3)[:, None]
    for name in ("values", "mask"):
        ours, theirs = np.asarray(getattr(part, name)), np.asarray(getattr(whole, name))
        np.testing.assert_array_equal(ours[:, :extra], theirs[:, :extra])
        np.testing.assert_allclose(ours[:, extra:], theirs[:, extra:][rows, keep], atol=1e-6)


def test_all_patches_in_another_order_are_the_same_tokens(case):
    _, module, fields, count = case
    keep = np.asarray(random_masking(RNG.uniform(size=(3, count)), count).keep)
    whole, part = run(module, fields, keep)
    extra = whole.values.shape[1] - count
    found = np.asarray(part.values)[:, extra:]
    expected = np.asarray(whole.values)[:, extra:][np.arange(3)[:, None], keep]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(part.pooled, whole.pooled, atol=1e-5)


def test_relative_positions_want_all_patches():
    module = encoders.build("beit", **BLOCKS, depth=1, image_size=8, patch=4)
    pixels = np.zeros((2, 8, 8, 3), np.float32)
    keep = np.zeros((2, 2), np.int32)
    with pytest.raises(ConfigError, match="relative positions are those of all patches"):
        jax.eval_shape(lambda: module.init(jax.random.key(0), pixels, keep=keep, train=False))
