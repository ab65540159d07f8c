"""Folders of speech models as they are found: with heads, older spellings, and without weights that
only training needs."""

from __future__ import annotations

import json

import goldens
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmjax.core.errors import WeightsError
from mmjax.pretrained.load import load
from mmjax.pretrained.save import save


def write(name, folder, change=lambda weights: weights, **config):
    """A golden case's folder with its weights and config changed."""
    golden = goldens.load(name)
    goldens.write_folder(golden, folder)
    save_file(change(golden.weights()), str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps({**golden.config, **config}))
    return golden


def fine_tuned(weights):
    """As `Wav2Vec2ForCTC` of the days of `weight_g` saved them: no vector for hidden frames."""
    old = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    found = {}
    for name, array in weights.items():
        for new, older in old.items():
            name = name.replace(new, older)
        if name != "masked_spec_embed":
            found[f"wav2vec2.{name}"] = array
    head = {"lm_head.weight": np.ones((11, 24), np.float32), "lm_head.bias": np.ones(11)}
    return {**found, **head}


def test_the_encoder_of_a_fine_tuned_model(tmp_path):
    golden = write("wav2vec2", tmp_path, fine_tuned)
    encoder = load(tmp_path)
    assert encoder.report.left_out == ("lm_head.bias", "lm_head.weight")
    assert encoder.module.mask_embedding is False
    inputs = golden.inputs
    tokens = encoder.module.apply(encoder.variables, **inputs, train=False)
    error = np.abs(tokens.values - golden.outputs["values"]).max()
    assert error <= 1e-5 * np.abs(golden.outputs["values"]).max()
    save(encoder, tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    assert set(ours) == set(golden.shapes) - {"masked_spec_embed"}


def test_settings_of_training_are_those_of_the_config(tmp_path):
    write("wav2vec2", tmp_path, mask_time_prob=0.2, mask_feature_prob=0.1, layerdrop=0.3)
    module = load(tmp_path).module
    assert (module.mask_time_rate, module.mask_feature_rate, module.layer_drop) == (0.2, 0.1, 0.3)
    write("wav2vec2", tmp_path, apply_spec_augment=False)
    assert load(tmp_path).module.mask_time_rate == 0


def test_attention_adapters_are_refused(tmp_path):
    write("wav2vec2_stable", tmp_path, adapter_attn_dim=4)
    with pytest.raises(WeightsError, match="adapter_attn_dim = 4 is not supported"):
        load(tmp_path)
