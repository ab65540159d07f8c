"""CoCa's towers: what sees the class token, and what learned queries read."""

import functools

import jax
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.core.types import Tokens
from mmjax.encoders.attention_pool import AttentionPooled

RNG = np.random.default_rng(0)
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 12, "dropout": 0.0}
IDS = RNG.integers(1, 11, (3, 5)).astype(np.int32)
MASK = np.arange(5) < np.array([[5], [3], [1]])


@pytest.fixture(scope="module")
def text():
    module = encoders.build("coca_text", **BLOCKS, vocab_size=11, max_length=6)
    params = reference.random_variables(module, IDS, MASK, train=False)
    return functools.partial(jax.jit(functools.partial(module.apply, train=False)), params)


def test_a_word_changes_the_tokens_behind_it_and_the_class_token(text):
    ids = IDS.copy()
    ids[:, 2] = (ids[:, 2] + 1) % 11
    ours, theirs = (text(x, MASK | True) for x in (IDS, ids))
    np.testing.assert_array_equal(ours.values[:, :2], theirs.values[:, :2])
    assert np.abs(ours.values - theirs.values)[:, 2:].max(axis=-1).min() > 1e-6
    assert np.abs(ours.pooled - theirs.pooled).max(axis=-1).min() > 1e-6


def test_the_class_token_does_not_mind_how_far_a_batch_is_padded(text):
    hidden = text(np.where(MASK, IDS, 7), MASK)
    whole = text(IDS, MASK)
    np.testing.assert_array_equal(hidden.pooled, whole.pooled)
    cut = text(IDS[1:, :3], MASK[1:, :3])
    np.testing.assert_allclose(cut.pooled, whole.pooled[1:], atol=1e-6)
    np.testing.assert_allclose(cut.values[0], whole.values[1, :3], atol=1e-6)


def pool(p, name, values, eps=1e-5):
    """OpenCLIP's `AttentionalPooler`, and the norm behind it."""
    queries = reference.layer_norm(p[f"{name}_query_norm"], p[f"{name}_queries"], eps)
    seen = reference.layer_norm(p[f"{name}_key_norm"], values, eps)
    queries = np.broadcast_to(queries, (len(values), *queries.shape))
    found = reference.multi_head(p[f"{name}_attention"], queries, seen, None)
    return reference.layer_norm(p[f"{name}_norm"], found, eps)


@pytest.mark.parametrize("pooled_from", ["cascade", "parallel"])
def test_attention_pool_agrees_with_its_formula(pooled_from):
    inner = Spec("vit", **BLOCKS)
    settings = {"queries": 3, "width": 4, "heads": 2, "image_size": 8, "pooled_from": pooled_from}
    module = AttentionPooled(encode_with=inner, **settings)
    pixels = RNG.standard_normal((2, 8, 8, 3)).astype(np.float32)
    params = reference.random_variables(module, pixels, train=False)

    @jax.jit
    def run(params):
        vit = encoders.build("vit", **BLOCKS, image_size=8)
        own = vit.apply({"params": params["params"]["encoder"]}, pixels, train=False)
        return module.apply(params, pixels, train=False), own

    found, own = run(params)
    assert isinstance(found, Tokens)
    p, own = reference.double((params["params"], own.values))
    values = pool(p, "tokens", own)
    pooled = pool(p, "pooled", values if pooled_from == "cascade" else own)[:, 0]
    np.testing.assert_allclose(found.values, values, atol=2e-5)
    np.testing.assert_allclose(found.pooled, pooled, atol=2e-5)
    assert found.mask.all()
