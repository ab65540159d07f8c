"""Every registered decoder and dual tower, run tiny."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core.types import Decoded
from mmjax.parallel.sharding import RULES

RNG = np.random.default_rng(0)

TEXTS = {
    "input_ids": RNG.integers(0, 13, (3, 6)).astype(np.int32),
    "attention_mask": np.arange(6) < np.array([[6], [2], [1]]),
    "decoder_input_ids": RNG.integers(0, 13, (3, 4)).astype(np.int32),
    "decoder_attention_mask": np.arange(4) < np.array([[4], [1], [3]]),
}
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
WORDS = {"vocab_size": 13, "max_length": 8}

DECODERS = {
    "bart": (TEXTS, {**BLOCKS, **WORDS, "logits_bias": True, "tied": False}),
}
"""Inputs, and options that make the decoder small. A new decoder is one line here."""


def test_none_is_left_out():
    assert set(DECODERS) == set(encoders.decoders)


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_decoders_see_no_later_token(name):
    inputs, options = DECODERS[name]
    module = encoders.decoders.build(name, **options)
    variables = reference.random_variables(module, **inputs, train=False)
    apply = jax.jit(functools.partial(module.apply, train=False))
    found = apply(variables, **inputs)
    assert isinstance(found, Decoded)
    assert found.logits.shape == (3, 4, 13)
    assert found.tokens.values.shape == (3, 4, 8)
    assert found.tokens.pooled.shape == (3, 8)
    assert found.cache is None
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    key = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    ids = inputs[key].copy()
    ids[:, 2:] = (ids[:, 2:] + 1) % 13
    other = apply(variables, **{**inputs, key: ids})
    np.testing.assert_allclose(other.logits[:, :2], found.logits[:, :2], atol=1e-6)
    assert not np.allclose(other.logits[0, 2:], found.logits[0, 2:], atol=1e-3)


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_every_axis_of_every_parameter_has_a_rule(name):
    inputs, options = DECODERS[name]
    types = {"dtype": jnp.bfloat16, "param_dtype": jnp.float32}
    module = encoders.decoders.build(name, facts=types, **options)
    found, boxed = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), **inputs, train=False)
    )
    assert found.logits.dtype == jnp.bfloat16
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        boxed, is_leaf=lambda leaf: hasattr(leaf, "names")
    ):
        assert hasattr(leaf, "names"), f"{jax.tree_util.keystr(path)} names no axes"
        assert {axis for axis in leaf.names if axis is not None} <= set(RULES)
        assert leaf.unbox(apply_constraint=False).dtype == jnp.float32
