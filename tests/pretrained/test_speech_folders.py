"""Folders of speech models as they are found: with heads, older spellings, and without weights that
only training needs."""

from __future__ import annotations

import functools
import json

import goldens
import jax
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


def run(encoder, inputs, *names):
    given = {name: inputs[name] for name in names or inputs}
    return jax.jit(functools.partial(encoder.module.apply, train=False))(encoder.variables, **given)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


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
    assert_close(run(encoder, golden.inputs).values, golden.outputs["values"])
    save(encoder, tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    assert set(ours) == set(golden.shapes) - {"masked_spec_embed"}


def test_settings_of_training_are_those_of_the_config(tmp_path):
    write("wav2vec2", tmp_path, mask_time_prob=0.2, mask_feature_prob=0.1, layerdrop=0.3)
    module = load(tmp_path).module
    assert (module.mask_time_rate, module.mask_feature_rate, module.layer_drop) == (0.2, 0.1, 0.3)
    write("wav2vec2", tmp_path, mask_time_prob=0.0)
    assert load(tmp_path).report.ignored == ("masked_spec_embed",)
    write("wav2vec2", tmp_path, apply_spec_augment=False)
    assert load(tmp_path).module.mask_time_rate == 0


@pytest.mark.parametrize("name", ["wav2vec2_ctc", "hubert_ctc"])
def test_models_that_recognise_speech_are_saved_as_they_were(name, golden_encoder, tmp_path):
    golden, encoder = golden_encoder(name)
    save(encoder, tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    theirs = golden.weights()
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        np.testing.assert_array_equal(ours[key], array)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == golden.config["architectures"]
    # The encoder alone is in the same folder, and its frames are those that the head reads.
    alone = load(tmp_path / "out")
    assert alone.report.left_out == ("lm_head.bias", "lm_head.weight")
    tokens = run(alone, golden.inputs)
    head = {key: theirs[f"lm_head.{key}"].astype(np.float64) for key in ("weight", "bias")}
    assert_close(tokens.values @ head["weight"].T + head["bias"], golden.outputs["logits"])


def test_a_folder_without_the_head_that_spells(tmp_path):
    write("wav2vec2", tmp_path)
    with pytest.raises(WeightsError, match="lm_head"):
        load(tmp_path, part="ctc")


@pytest.mark.parametrize("name", ["whisper", "whisper_unequal"])
def test_the_encoder_of_whisper(name, tmp_path):
    golden = write(name, tmp_path)
    encoder = load(f"{tmp_path}#encoder")
    tokens = run(encoder, golden.inputs, "input_features", "attention_mask")
    assert_close(tokens.values, golden.outputs["encoder"])
    # 14, 5 and 1 frames of sound, two a token.
    assert tokens.mask.sum(axis=1).tolist() == [7, 3, 1]
    left_out = encoder.report.left_out
    assert len(left_out) == sum("decoder." in key or "proj_out" in key for key in golden.shapes)
    save(encoder, tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    theirs = {k.removeprefix("model.encoder."): v for k, v in golden.weights().items()}
    assert set(ours) == {key for key in theirs if "decoder." not in key and "proj_out" not in key}
    for key, array in ours.items():
        np.testing.assert_array_equal(array, theirs[key])


def test_whisper_that_classifies_sounds(tmp_path):
    def classifier(weights):
        kept = {k.removeprefix("model."): v for k, v in weights.items() if ".encoder." in k}
        head = dict.fromkeys(("projector.weight", "classifier.bias", "layer_weights"), np.ones(2))
        return {**kept, **head}

    golden = write("whisper", tmp_path, classifier)
    encoder = load(tmp_path, part="encoder")
    assert encoder.report.left_out == ("classifier.bias", "layer_weights", "projector.weight")
    assert_close(run(encoder, golden.inputs, "input_features").values, golden.outputs["encoder"])


def test_the_bare_class_of_whisper_has_the_tied_head(tmp_path):
    golden = write(
        "whisper",
        tmp_path,
        lambda weights: {k.removeprefix("model."): v for k, v in weights.items()},
    )
    encoder = load(tmp_path)
    assert encoder.report.left_out == ()
    assert_close(run(encoder, golden.inputs).logits, golden.outputs["logits"])


def test_a_spectrogram_transformer_that_classifies(tmp_path):
    def classifier(weights):
        base = {f"audio_spectrogram_transformer.{k}": v for k, v in weights.items()}
        head = dict.fromkeys(("classifier.layernorm.weight", "classifier.dense.bias"), np.ones(3))
        return {**base, **head}

    golden = write("audio-spectrogram-transformer", tmp_path, classifier)
    encoder = load(tmp_path)
    assert encoder.report.left_out == ("classifier.dense.bias", "classifier.layernorm.weight")
    assert_close(run(encoder, golden.inputs).pooled, golden.outputs["pooled"])
