"""Encoders of videos: frames that are not there."""

import functools

import jax
import numpy as np
import pytest
import reference

from mmjax import encoders

SIZES = {"width": 8, "depth": 2, "heads": 2, "mlp_dim": 16, "image_size": 8, "patch": 4}
CLIPS = np.random.default_rng(0).standard_normal((3, 6, 8, 8, 3)).astype(np.float32)
LENGTHS = np.array([6, 4, 0])
MASK = np.arange(6) < LENGTHS[:, None]

CASES = {
    "videomae": {},
    "vivit": {"pooling": "pooler"},
    "vivit_mean": {"pooling": "mean"},
    "timesformer": {},
    "timesformer_joint": {"attention": "joint"},
    "timesformer_space": {"attention": "space_only"},
}


def make(name, frames):
    base, options = name.partition("_")[0], CASES[name]
    return encoders.build(base, **SIZES, **options, frames=frames)


def shorter(name, params):
    """The parameters for clips of 4 frames, whose positions are the first 4 of 6."""
    params = dict(params)
    if name.startswith("vivit"):
        params["positions"] = params["positions"][:, : 1 + 2 * 4]
    if "times" in params:
        params["times"] = params["times"][:, :4]
    return params


def run(module, params, *inputs):
    return jax.jit(functools.partial(module.apply, train=False))({"params": params}, *inputs)


@pytest.mark.parametrize("name", sorted(CASES))
def test_frames_that_are_masked_might_as_well_be_missing(name):
    module = make(name, 6)
    params = reference.random_variables(module, CLIPS, MASK, train=False)["params"]
    filled = np.where(MASK[:, :, None, None, None], CLIPS, np.nan)
    tokens = run(module, params, filled, MASK)
    short = run(make(name, 4), shorter(name, params), CLIPS[1:2, :4], MASK[1:2, :4])
    assert short.mask.all()
    # Tokens of the masked frames stand among the others; those that are left are the same.
    values, mask = np.asarray(tokens.values[1]), np.asarray(tokens.mask[1])
    np.testing.assert_allclose(values[mask], short.values[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tokens.pooled[1], short.pooled[0], rtol=1e-4, atol=1e-5)
    assert tokens.mask[0].all()
    assert not tokens.mask[2].any()
    np.testing.assert_array_equal(tokens.pooled[2], 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tokens))


def test_other_sizes_and_lengths_than_those_learned():
    for name in ("videomae", "vivit", "timesformer"):
        module = make(name, 4)
        learned = np.zeros((1, 4, 8, 8, 3), np.float32)
        variables = reference.shapes(module, learned, train=False)
        clips = jax.ShapeDtypeStruct((2, 6, 16, 12, 3), np.float32)
        tokens = jax.eval_shape(functools.partial(module.apply, train=False), variables, clips)
        count = (6 if name == "timesformer" else 3) * 4 * 3 + (name != "videomae")
        assert tokens.values.shape == (2, count, 8)
