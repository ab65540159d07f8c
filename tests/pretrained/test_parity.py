"""Every golden case: the folder loads whole, and the module computes what the torch class did."""

from __future__ import annotations

from typing import Any

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import errors, relative_error

from mmjax.core.types import Tokens
from mmjax.pretrained import find

TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 5e-5
"""Gradients sum over more terms than outputs, in float32 and another order than torch's."""
LOOSER: dict[str, float] = {}
"""Cases of deep convolution stacks, with the reason."""


SLOW = {
    # Options of a class whose other case runs by default.
    *("albert_groups", "audio-spectrogram-transformer_no_bias", "bart_unequal", "bert_gelu_new"),
    *("beit_rectangles", "beit_wide", "convnext_no_scale", "deberta-v2_one_term"),
    *("deberta-v2_own_keys", "deberta-v2_xlarge", "deit_small", "dinov2_with_registers_small"),
    *("electra_same_width", "ernie_tasks", "gpt2_options", "gpt_neox_serial", "hubert_ctc"),
    *("llama_scaled", "marian_separate", "modernbert_biases", "opt_350m", "regnet_x"),
    *("resnet_basic", "resnet_first", "roformer_values", "siglip_vision_model_no_head"),
    *("timesformer_joint", "timesformer_space", "timesformer_tall", "videomae_no_bias"),
    *("vit_no_bias", "vit_rectangles", "vit_wide", "wav2vec2_adapter", "wav2vec2_stable"),
    *("vision-encoder-decoder_trocr_fixed", "vision-text-dual-encoder_clip", "wavlm_stable"),
    "whisper_unequal",
    # Model types that are computed by the module of another one.
    *("blenderbot", "blenderbot-small", "camembert", "clip_text_model", "clip_vision_model"),
    *("convnext", "data2vec-audio", "data2vec-text", "data2vec-vision", "deit", "dinov2", "ernie"),
    *("mbart", "mistral", "mt5", "pegasus", "plbart", "qwen2", "siglip_text_model"),
    *("siglip_vision_model", "siglip2_vision_model", "unispeech", "unispeech-sat", "vit_msn"),
    *("xglm", "xlm-roberta", "xlm-roberta-xl"),
}
"""Cases of `-m slow`; test_round_trip.py holds the names and bits of their weights by default."""


def cases(names):
    return [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in names]


def test_slow_cases_are_there():
    assert set(goldens.names()) > SLOW


@pytest.mark.parametrize("name", cases(goldens.names()))
def test_computes_what_the_torch_class_does(name, golden_encoder):
    golden, encoder = golden_encoder(name)
    assert not encoder.report.left_out
    found = errors(golden, encoder)
    assert found.keys() == golden.outputs.keys() != set()
    assert max(found.values()) <= LOOSER.get(name, TOLERANCE), found


@pytest.mark.parametrize("name", cases(n for n in goldens.names() if goldens.load(n).gradients))
def test_gradients_are_those_of_the_torch_class(name, golden_encoder):
    golden, encoder = golden_encoder(name)
    cotangent = jnp.asarray(goldens.cotangent(golden.outputs["values"].shape))

    def loss(params: Any) -> jax.Array:
        variables = {**encoder.variables, "params": params}
        found = encoder.module.apply(variables, **golden.inputs, train=False)
        values = found.values if isinstance(found, Tokens) else found.tokens.values
        return jnp.sum(values * cotangent)

    gradients = {"params": jax.jit(jax.grad(loss))(encoder.params)}
    flat = {
        "/".join(key.key for key in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
    }
    table = {leaf.theirs: leaf for leaf in find(encoder.model_type).table(encoder.config)}
    found = {
        key: relative_error(table[key].save(np.asarray(flat[table[key].ours])), expected)
        for key, expected in golden.gradients.items()
    }
    assert max(found.values()) <= GRADIENT_TOLERANCE, found
