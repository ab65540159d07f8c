"""Masked autoencoders: against transformers in torch, and what they hide of what."""

import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import encoders
from mmjax.nn.masking import random_masking
from mmjax.nn.patches import to_patches
from mmjax.objectives import masked_patches_loss
from mmjax.objectives.hidden_patches import PatchDecoder
from mmjax.pretrained.families import vit
from mmjax.pretrained.rules import dense, norm, param

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "masked_autoencoder.npz")
"""As tests/golden/make_masked_autoencoder.py wrote it: ViTMAEForPreTraining and its autograd."""


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
