"""Every registered encoder: presets at their real sizes by shape alone, all of them run tiny."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.core.types import Tokens
from mmjax.parallel.sharding import RULES

RNG = np.random.default_rng(0)

TEXT = {
    "input_ids": RNG.integers(0, 13, (3, 6)).astype(np.int32),
    "attention_mask": np.arange(6) < np.array([[6], [2], [1]]),
}
IMAGE = {"pixel_values": RNG.standard_normal((3, 8, 8, 3)).astype(np.float32)}
CLIPS = {"pixel_values": RNG.standard_normal((3, 4, 8, 8, 3)).astype(np.float32)}
PATCHES = {
    "pixel_values": RNG.standard_normal((3, 6, 12)).astype(np.float32),
    "spatial_shapes": np.array([[2, 3], [1, 4], [2, 1]], np.int32),
}
TABLE = {
    "numbers": RNG.standard_normal((3, 2)).astype(np.float32),
    "number_mask": np.array([[1, 1], [1, 0], [0, 0]], bool),
    "categories": np.array([[0, 1], [2, 0], [1, 3]], np.int32),
}
SOUND = {
    "input_values": RNG.standard_normal((3, 40)).astype(np.float32),
    "attention_mask": np.arange(40) < np.array([[40], [23], [11]]),
}
BANDS = {
    "input_features": RNG.standard_normal((3, 9, 4)).astype(np.float32),
    "attention_mask": np.arange(9) < np.array([[9], [4], [1]]),
}
VIDEO = {
    "pixel_values": RNG.standard_normal((3, 4, 8, 8, 3)).astype(np.float32),
    "frame_mask": np.arange(4) < np.array([[4], [4], [4]]),
}
VOLUME = {"voxel_values": RNG.standard_normal((3, 4, 4, 4, 1)).astype(np.float32)}
POINTS = {
    "points": RNG.standard_normal((3, 6, 4)).astype(np.float32),
    "attention_mask": np.arange(6) < np.array([[6], [2], [1]]),
}
PLACES = {
    "coordinates": RNG.standard_normal((3, 4, 2)).astype(np.float32),
    "attention_mask": np.arange(4) < np.array([[4], [2], [1]]),
}
READINGS = {
    "times": RNG.standard_normal((3, 6)).astype(np.float32),
    "values": RNG.standard_normal((3, 6)).astype(np.float32),
    "channels": RNG.integers(0, 3, (3, 6)).astype(np.int32),
    "attention_mask": np.arange(6) < np.array([[6], [2], [1]]),
}
HISTORY = {
    "item_ids": np.array([[3, 1, 4], [2, 0, 0], [5, 5, 0]], np.int32),
    "attention_mask": np.arange(3) < np.array([[3], [1], [2]]),
}
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
WORDS = {"vocab_size": 13, "max_length": 8}
FRAMES = {
    "conv_channels": (6, 6),
    "conv_kernels": (5, 3),
    "conv_strides": (3, 2),
    "position_kernel": 4,
    "position_groups": 2,
}

SPECTROGRAM = {
    "max_frames": 9,
    "mel_bins": 4,
    "patch": 3,
    "time_stride": 2,
    "frequency_stride": 1,
}
TINY = {
    "text_transformer": (TEXT, {**BLOCKS, **WORDS}),
    "bert_base": (TEXT, {**BLOCKS, **WORDS}),
    "albert": (TEXT, {**BLOCKS, **WORDS, "embedding_width": 4}),
    "deberta": (TEXT, {**BLOCKS, **WORDS, "conv_kernel": 3, "depth": 2}),
    "modernbert": (TEXT, {**BLOCKS, "depth": 2, "vocab_size": 13}),
    "mpnet": (TEXT, {**BLOCKS, **WORDS}),
    "roformer": (TEXT, {**BLOCKS, **WORDS}),
    "causal_encoder": (TEXT, {**BLOCKS, **WORDS}),
    "text_windows": (
        TEXT,
        {"text": Spec("text_transformer", **BLOCKS), "length": 4, "stride": 1, "vocab_size": 13},
    ),
    "coca_text": (TEXT, {**BLOCKS, **WORDS}),
    "attention_pool": (
        IMAGE,
        {"encode_with": Spec("vit", **BLOCKS), "queries": 3, "width": 8, "heads": 2},
    ),
    "item_sequence": (HISTORY, {**BLOCKS, "num_items": 5, "max_length": 3}),
    "bag_of_subwords": (TEXT, {"width": 8, "vocab_size": 13}),
    "vit": (IMAGE, {**BLOCKS, "image_size": 8}),
    "vit_base": (IMAGE, {**BLOCKS, "image_size": 8, "patch": 4}),
    "beit": (IMAGE, {**BLOCKS, "image_size": 8}),
    "resnet": (IMAGE, {"stem": 4, "channels": (8,), "depths": (2,)}),
    "regnet": (IMAGE, {"stem": 4, "channels": (8,), "depths": (1,), "group_width": 4}),
    "convnext": (IMAGE, {"channels": (8,), "depths": (2,)}),
    "swin": (IMAGE, {"width": 8, "depths": (3,), "heads": (2,), "window": 2, "patch": 2}),
    "video_transformer": (CLIPS, {**BLOCKS, "image_size": 8, "frames": 4}),
    "videomae": (CLIPS, {**BLOCKS, "image_size": 8, "frames": 4}),
    "vivit": (CLIPS, {**BLOCKS, "image_size": 8, "frames": 4}),
    "timesformer": (CLIPS, {**BLOCKS, "image_size": 8, "frames": 4}),
    "wav2vec2": (SOUND, {**BLOCKS, **FRAMES}),
    "wav2vec2_base": (SOUND, {**BLOCKS, **FRAMES}),
    "bart_encoder": (TEXT, {**BLOCKS, **WORDS}),
    "t5_encoder": (TEXT, {**BLOCKS, "vocab_size": 13, "head_dim": 3}),
    "clip_vision": (IMAGE, {**BLOCKS, "image_size": 8, "patch": 4}),
    "clip_text": (TEXT, {**BLOCKS, **WORDS}),
    "siglip_vision": (IMAGE, {**BLOCKS, "image_size": 8, "patch": 4}),
    "siglip2_vision": (PATCHES, {**BLOCKS, "positions": 9}),
    "siglip_text": (TEXT, {**BLOCKS, **WORDS}),
    "wavlm": (SOUND, {**BLOCKS, **FRAMES}),
    "spectrogram_transformer": (BANDS, {**BLOCKS, **SPECTROGRAM}),
    "spectrogram_transformer_base": (BANDS, {**BLOCKS, **SPECTROGRAM}),
    "whisper_encoder": (BANDS, {**BLOCKS, "max_frames": 10}),
    "audio_cnn": (BANDS, {"width": 8, "channels": (4, 8), "groups": 2}),
    "conv1d": (BANDS, {"channels": (8,)}),
    "stream_rnn": (BANDS, {"width": 8}),
    "text_rnn": (TEXT, {"width": 8, "vocab_size": 13}),
    "frames": (
        VIDEO,
        {**BLOCKS, "image": Spec("image_cnn", channels=(8,), blocks=(0,), groups=4, width=8)},
    ),
    "volume_cnn": (VOLUME, {"width": 8, "channels": (8,), "blocks": (1,), "groups": 4}),
    "volume_transformer": (VOLUME, {**BLOCKS, "patch": 2, "volume_size": (4, 4, 4)}),
    "time_series": (READINGS, {**BLOCKS, "channel_count": 3}),
    "point_set": (POINTS, {"width": 8, "channels": (8,)}),
    "positions": (PLACES, {"width": 8, "hidden": 8, "scales": 3}),
    "table_mlp": (TABLE, {"width": 8, "numbers": 2, "cardinalities": (3, 4)}),
    "ft_transformer": (TABLE, {**BLOCKS, "numbers": 2, "cardinalities": (3, 4)}),
    "image_cnn": (IMAGE, {"width": 8, "channels": (8, 16), "blocks": (0, 1), "groups": 4}),
    "table": (TABLE, {**BLOCKS, "numbers": 2, "cardinalities": (3, 4)}),
}
"""Inputs, and options that make the encoder small. A new encoder is one line here."""

PRESETS = {
    "bert_base": (
        {"vocab_size": 30522, "max_length": 512},
        {
            "input_ids": jax.ShapeDtypeStruct((2, 512), np.int32),
            "attention_mask": jax.ShapeDtypeStruct((2, 512), bool),
        },
        109_482_240,
    ),
    "vit_base": (
        {"image_size": 224},
        {"pixel_values": jax.ShapeDtypeStruct((2, 224, 224, 3), np.float32)},
        85_798_656,
    ),
    "wav2vec2_base": (
        {},
        {
            "input_values": jax.ShapeDtypeStruct((2, 16000), np.float32),
            "attention_mask": jax.ShapeDtypeStruct((2, 16000), bool),
        },
        94_371_712,
    ),
    "spectrogram_transformer_base": (
        {"max_frames": 1024, "mel_bins": 128},
        {"input_features": jax.ShapeDtypeStruct((2, 1024, 128), np.float32)},
        86_187_264,
    ),
}
"""Facts, inputs and the published number of parameters: with BERT's pooler, without ViT's."""


def test_none_is_left_out():
    assert set(TINY) == set(encoders.registry)
    assert {name for name in encoders.registry if name.endswith("_base")} == set(PRESETS)


QUICK = {
    "audio_cnn",
    "frames",
    "item_sequence",
    "point_set",
    "positions",
    "siglip2_vision",
    "table",
    "text_windows",
    "time_series",
    "video_transformer",
    "vit",
    "volume_cnn",
    "wav2vec2",
}
"""One of each kind of input. What the others compute, their own tests or pretrained/test_parity.py
hold against references; run here as well with `-m slow`."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in sorted(TINY)],
)
def test_runs(name):
    inputs, options = TINY[name]
    module = encoders.build(name, **options)
    variables = reference.random_variables(module, **inputs, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, **inputs)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tokens))
    if "input_values" in inputs or "input_features" in inputs:
        assert tokens.mask.any(axis=1).all()
        assert tokens.mask[0].all()
    elif "attention_mask" in inputs:
        np.testing.assert_array_equal(tokens.mask, inputs["attention_mask"])
    else:
        assert tokens.mask.all()


@pytest.mark.parametrize("name", sorted(TINY))
def test_shapes_types_and_axes(name):
    """Computed in one type and stored in another, with a rule for every axis."""
    inputs, options = TINY[name]
    types = {"dtype": jnp.bfloat16, "param_dtype": jnp.float32}
    module = encoders.registry.build(name, facts=types, **options)
    tokens, boxed = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), **inputs, train=False)
    )
    assert isinstance(tokens, Tokens)
    batch, length, width = tokens.values.shape
    assert (batch, width) == (3, 8)
    assert tokens.mask.shape == (3, length)
    assert tokens.mask.dtype == bool
    assert tokens.pooled.shape == (3, 8)
    assert tokens.values.dtype == tokens.pooled.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(boxed)} == {jnp.dtype("float32")}
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        boxed["params"], is_leaf=lambda leaf: hasattr(leaf, "names")
    ):
        assert hasattr(leaf, "names"), f"{jax.tree_util.keystr(path)} names no axes"
        assert {axis for axis in leaf.names if axis is not None} <= set(RULES)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_have_the_published_number_of_parameters(name):
    facts, inputs, parameters = PRESETS[name]
    module = encoders.registry.build(name, facts=facts)
    tokens, variables = jax.eval_shape(
        lambda inputs: module.init_with_output(jax.random.key(0), **inputs, train=False), inputs
    )
    assert reference.count(variables["params"]) == parameters
    length = {
        "bert_base": 512,
        "vit_base": 14 * 14 + 1,
        "wav2vec2_base": 49,
        "spectrogram_transformer_base": 1214,
    }[name]
    assert tokens.values.shape == (2, length, 768)
    assert tokens.pooled.shape == (2, 768)
