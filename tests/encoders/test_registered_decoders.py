"""Every registered decoder and dual tower, run tiny."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax.errors import InvalidRngError

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.core.types import Decoded, Embeddings, Tokens
from mmjax.encoders.dual_tower import unit_length
from mmjax.parallel.sharding import RULES

RNG = np.random.default_rng(0)

TEXTS = {
    "input_ids": RNG.integers(0, 13, (3, 6)).astype(np.int32),
    "attention_mask": np.arange(6) < np.array([[6], [2], [1]]),
    "decoder_input_ids": RNG.integers(0, 13, (3, 4)).astype(np.int32),
    "decoder_attention_mask": np.arange(4) < np.array([[4], [1], [3]]),
}
SOUNDS = {
    "input_features": RNG.standard_normal((3, 9, 4)).astype(np.float32),
    "attention_mask": np.arange(9) < np.array([[9], [4], [1]]),
    "decoder_input_ids": TEXTS["decoder_input_ids"],
    "decoder_attention_mask": TEXTS["decoder_attention_mask"],
}
SEEN = Tokens(
    jnp.asarray(RNG.standard_normal((3, 5, 12)), jnp.float32),
    jnp.arange(5) < jnp.array([[5], [2], [1]]),
    jnp.zeros((3, 12)),
)
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
WORDS = {"vocab_size": 13, "max_length": 8}

DECODERS = {
    "bart": (TEXTS, {**BLOCKS, **WORDS, "logits_bias": True, "tied": False}),
    "t5": (TEXTS, {**BLOCKS, "vocab_size": 13, "head_dim": 3, "layer_bias": True}),
    "causal_lm": (
        {
            "input_ids": TEXTS["decoder_input_ids"],
            "attention_mask": TEXTS["decoder_attention_mask"],
        },
        {**BLOCKS, **WORDS},
    ),
    "encoder_decoder": (
        TEXTS,
        {
            "encode_with": Spec("text_transformer", **{**BLOCKS, **WORDS, "width": 12}),
            "decode_with": Spec("causal_lm", **BLOCKS, **WORDS, cross_attention=True),
            "project": 8,
        },
    ),
    "context_decoder": (
        {
            "input_ids": TEXTS["decoder_input_ids"],
            "attention_mask": TEXTS["decoder_attention_mask"],
            "context": SEEN,
        },
        {**BLOCKS, **WORDS},
    ),
    "whisper": (SOUNDS, {**BLOCKS, **WORDS, "max_frames": 10, "tied": False}),
}
"""Inputs, and options that make the decoder small. A new decoder is one line here."""

RECOGNISERS = {
    "ctc": (
        {
            "input_values": RNG.standard_normal((3, 40)).astype(np.float32),
            "attention_mask": np.arange(40) < np.array([[40], [23], [11]]),
        },
        {
            "tower": Spec(
                "wav2vec2",
                conv_channels=(6, 6),
                conv_kernels=(5, 3),
                conv_strides=(3, 2),
                position_kernel=4,
                position_groups=2,
                **BLOCKS,
            ),
            "vocab_size": 13,
        },
    ),
}
"""Those that read an encoder's tokens, and look both ways."""

TOWERS = {
    "dual_tower": (
        {
            "pixel_values": RNG.standard_normal((3, 8, 8, 3)).astype(np.float32),
            "input_ids": TEXTS["input_ids"],
            "attention_mask": TEXTS["attention_mask"],
        },
        {
            "towers": {
                "vision": Spec("vit", image_size=8, **{**BLOCKS, "width": 12}),
                "text": Spec("text_transformer", **BLOCKS, **WORDS),
            },
            "projection_dim": 6,
            "logit_bias": -10.0,
        },
    ),
}
REGISTERED = [
    *((encoders.decoders, name, *DECODERS[name]) for name in sorted(DECODERS)),
    *((encoders.decoders, name, *RECOGNISERS[name]) for name in sorted(RECOGNISERS)),
    *((encoders.towers, name, *TOWERS[name]) for name in sorted(TOWERS)),
]


def test_none_is_left_out():
    assert {*DECODERS, *RECOGNISERS} == set(encoders.decoders)
    assert set(TOWERS) == set(encoders.towers)


@pytest.mark.parametrize("name", sorted(TOWERS))
def test_towers_meet_in_one_space(name):
    inputs, options = TOWERS[name]
    module = encoders.towers.build(name, **options)
    variables = reference.random_variables(module, **inputs, train=False)
    found = jax.jit(functools.partial(module.apply, train=False))(variables, **inputs)
    assert isinstance(found, Embeddings)
    assert set(found.values) == set(found.tokens)
    for values in found.values.values():
        assert values.shape == (3, 6)
        np.testing.assert_allclose(np.linalg.norm(values, axis=-1), 1, atol=1e-6)
    assert found.logit_scale.shape == found.logit_bias.shape == ()
    np.testing.assert_allclose(
        found.logit_scale, np.exp(variables["params"]["logit_scale"]), rtol=1e-6
    )


def test_rows_without_length_stay_and_have_gradients():
    values = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit_length(values), [[0.6, 0.8], [0, 0]], atol=1e-7)
    assert np.isfinite(jax.grad(lambda v: unit_length(v).sum())(values)).all()


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


@pytest.mark.parametrize("name", sorted(RECOGNISERS))
def test_recognisers_spell_each_token(name):
    inputs, options = RECOGNISERS[name]
    module = encoders.decoders.build(name, **options)
    variables = reference.random_variables(module, **inputs, train=False)
    found = jax.jit(functools.partial(module.apply, train=False))(variables, **inputs)
    head = reference.double(variables["params"]["head"])
    expected = reference.dense(head, np.asarray(found.tokens.values, np.float64))
    np.testing.assert_allclose(found.logits, expected, atol=1e-5)
    assert found.logits.shape == (3, 5, 13)
    assert found.tokens.mask.sum(axis=1).tolist() == [5, 3, 1]
    assert found.encoder is None


@pytest.mark.parametrize(("registry", "name", "inputs", "options"), REGISTERED)
def test_every_axis_of_every_parameter_has_a_rule(registry, name, inputs, options):
    types = {"dtype": jnp.bfloat16, "param_dtype": jnp.float32}
    module = registry.build(name, facts=types, **options)
    found, boxed = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), **inputs, train=False)
    )
    made = found.values if isinstance(found, Embeddings) else found.logits
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("bfloat16")}
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        boxed, is_leaf=lambda leaf: hasattr(leaf, "names")
    ):
        assert hasattr(leaf, "names"), f"{jax.tree_util.keystr(path)} names no axes"
        assert {axis for axis in leaf.names if axis is not None} <= set(RULES)
        assert leaf.unbox(apply_constraint=False).dtype == jnp.float32


@pytest.mark.parametrize(("registry", "name", "inputs", "options"), REGISTERED)
def test_every_rate_asks_for_a_key_in_training_alone(registry, name, inputs, options):
    rates = {
        key: 0.5
        for key in registry.settings(name)
        if key in ("dropout", "attention_dropout", "mlp_dropout", "layer_drop")
    }
    module = registry.build(name, **{**options, **rates})
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), **inputs, train=False))

    def run(variables, **rngs):
        return module.apply(variables, **inputs, train=True, rngs=rngs)

    keys = {"dropout": jax.random.key(1)}
    jax.eval_shape(lambda variables: run(variables, **keys), variables)
    with pytest.raises(InvalidRngError, match="dropout"):
        jax.eval_shape(run, variables)
