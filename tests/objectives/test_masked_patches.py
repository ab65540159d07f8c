"""Masked autoencoders: against transformers in torch, and what they hide of what."""

import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmjax import encoders
from mmjax.core.errors import ConfigError
from mmjax.nn.masking import random_masking
from mmjax.nn.patches import to_patches
from mmjax.objectives import masked_patches_loss
from mmjax.objectives.hidden_patches import PatchDecoder, hide_patches, space_of
from mmjax.pretrained.families import vit
from mmjax.pretrained.rules import dense, norm, param

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "masked_autoencoder.npz")
"""As tests/golden/make_masked_autoencoder.py wrote it: ViTMAEForPreTraining and its autograd."""
ROWS = 2000


def translated(kind):
    """Theirs (weights, or gradients) by our paths, as nested dictionaries."""
    settings = types.SimpleNamespace(
        num_attention_heads=2, num_hidden_layers=1, patch_size=4, qkv_bias=True
    )
    decoder = [
        *dense("decoder.decoder_embed", "narrow"),
        *param("decoder.mask_token", "mask_token", lambda x: x[0, 0]),
        *vit.block("decoder.decoder_layers.0", "transformer/stack/layer_0", settings),
        *norm("decoder.decoder_norm", "transformer/norm"),
        *dense("decoder.decoder_pred", "out"),
    ]
    tree = {}
    for part, prefix, table in (("encoder", "vit.", vit.table(settings)), ("decoder", "", decoder)):
        for leaf in table:
            theirs = f"{kind}/{prefix}{leaf.theirs}"
            if theirs in GOLDEN:
                *path, last = [part, *leaf.ours.split("/")[1:]]
                inner = tree
                for key in path:
                    inner = inner.setdefault(key, {})
                inner[last] = leaf.take(GOLDEN[theirs])
    return tree


def test_agrees_with_torch():
    """Both losses, and their gradients by every weight and by the pixels, with the same noise."""
    encoder = encoders.build(
        "vit", image_size=16, patch=4, width=12, depth=1, heads=2, mlp_dim=20, eps=1e-6
    )
    decoder = PatchDecoder(features=48, width=8, depth=1, heads=2)
    masking = random_masking(GOLDEN["noise"], 4)

    def losses(given):
        pixels, params = given["pixels"], {"params": given["encoder"]}
        seen = encoder.apply(params, pixels, keep=masking.keep, train=False).values
        params, grid = {"params": given["decoder"]}, (4, 4)
        guess = decoder.apply(params, seen, masking.restore, grid, extra=1, train=False)
        both = [
            masked_patches_loss(guess, to_patches(pixels, 4), masking.hidden, normalise=normalise)
            for normalise in (False, True)
        ]
        return jnp.stack(both), both

    given = {**translated("weights"), "pixels": GOLDEN["pixels"]}
    grads, found = jax.jit(jax.jacrev(losses, has_aux=True))(given)
    # Positions are learned here, and fixed there.
    assert grads["encoder"].pop("positions").any()
    for index, kind in enumerate(("plain", "normalised")):
        assert float(found[index]) == pytest.approx(float(GOLDEN[f"{kind}_loss"]), rel=1e-5)
        expected = translated(f"{kind}_gradients")
        expected["pixels"] = GOLDEN[f"{kind}_pixels_gradient"]
        jax.tree.map_with_path(
            lambda path, ours, theirs, index=index: np.testing.assert_allclose(
                ours[index], theirs, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path)
            ),
            grads,
            expected,
        )


def draw(fields, **settings):
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), ROWS)
    given, labels = jax.jit(lambda keys: hide_patches(fields, keys, **settings))(keys)
    return np.asarray(given["keep"]), np.asarray(labels["restore"])


def test_every_patch_is_hidden_as_often():
    pictures = np.zeros((ROWS, 8, 12, 3), np.float32)
    keep, restore = draw({"pixel_values": pictures}, patch=4, mask_ratio=0.5)
    assert keep.shape == (ROWS, 3)
    assert (np.sort(restore, axis=1) == np.arange(6)).all()
    np.testing.assert_array_equal(np.take_along_axis(restore, keep, 1), [[0, 1, 2]] * ROWS)
    # 20 sets of three of six, all as likely.
    _, counts = np.unique(np.sort(keep, axis=1), axis=0, return_counts=True)
    assert len(counts) == 20
    assert stats.chisquare(counts).pvalue > 1e-3


def test_regions_are_hidden_together_and_no_place_more_often():
    pictures = {"pixel_values": np.zeros((ROWS, 16, 16, 1), np.float32)}
    whole = {}
    for region in (1, 4):
        keep, restore = draw(pictures, patch=2, mask_ratio=0.75, region=region)
        assert keep.shape == (ROWS, 16)
        hidden = (restore >= 16).reshape(ROWS, 8, 8)
        shares = hidden.mean(axis=0)
        assert np.abs(shares - 0.75).max() < 0.06, region
        whole[region] = np.mean(hidden[:, 1:] == hidden[:, :-1])
    # Two places of 64, of which 48 are hidden, by themselves and as neighbours.
    assert whole[1] == pytest.approx((48 * 47 + 16 * 15) / (64 * 63), abs=0.01)
    assert whole[4] > 0.8


def test_a_video_hides_tubes():
    """The same cells of each pair of frames."""
    videos = {
        "pixel_values": np.zeros((ROWS, 6, 4, 8, 1), np.float32),
        "frame_mask": np.ones((ROWS, 6), bool),
    }
    keep, _ = draw(videos, patch=(2, 2, 2), mask_ratio=0.75)
    assert keep.shape == (ROWS, 3 * 2)
    places = np.sort(keep, axis=1).reshape(ROWS, 3, 2)
    np.testing.assert_array_equal(places, places[:, :1] % 8 + 8 * np.arange(3)[:, None])
    assert len(np.unique(places[:, 0], axis=0)) == 28


def test_patches_of_sounds_are_bands_by_time():
    """In the order of the encoder's: the lowest bands over time first."""
    bands = np.arange(12.0, dtype=np.float32).reshape(1, 6, 2)
    space = space_of({"input_features": bands, "attention_mask": np.ones((1, 6), bool)})
    patches = to_patches(space, (1, 2))
    np.testing.assert_array_equal(patches[0], [[0, 2], [4, 6], [8, 10], [1, 3], [5, 7], [9, 11]])


def test_of_several_pictures_the_first_is_cut():
    views = np.arange(2 * 3 * 16.0, dtype=np.float32).reshape(2, 3, 4, 4, 1)
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), 2)
    given, _ = hide_patches({"pixel_values": views}, keys, patch=2, mask_ratio=0.75)
    np.testing.assert_array_equal(given["pixel_values"], views[:, 0])
    assert given["keep"].shape == (2, 1)


def test_what_has_no_patches_is_refused():
    with pytest.raises(ConfigError, match="patches of input_values, attention_mask"):
        space_of({"input_values": np.zeros((1, 6)), "attention_mask": np.ones((1, 6), bool)})
