"""One side of a model that has several, and folders of the bare class or with another head."""

from __future__ import annotations

import dataclasses
import functools
import re

import goldens
import jax
import numpy as np
import pytest
from parity import errors

from mmjax.core.errors import ConfigError, WeightsError
from mmjax.pretrained.load import load
from mmjax.pretrained.save import save

ENCODERS = ("bart_unequal", "m2m_100", "marian_separate", "t5", "umt5")
"""Encoder-decoders whose encoder loads alone."""
TOWERS = {
    "clip": "{}_projection.weight",
    "siglip": "",
    "siglip2": "",
    "vision-text-dual-encoder": "{}_projection.weight",
    "vision-text-dual-encoder_clip": "{}_projection.weight",
}
"""Dual towers, and what their parts' pooled outputs are projected with."""


def weights_folder(golden, folder, weights):
    from safetensors.numpy import save_file

    goldens.write_folder(golden, folder)
    save_file(weights, str(folder / "model.safetensors"))
    return folder


def run(encoder, inputs, *names):
    given = {name: inputs[name] for name in names}
    return jax.jit(functools.partial(encoder.module.apply, train=False))(encoder.variables, **given)


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ENCODERS)
def test_the_encoder_of_an_encoder_decoder(name, tmp_path):
    golden = goldens.load(name)
    encoder = load(f"{goldens.write_folder(golden, tmp_path)}#encoder")
    tokens = run(encoder, golden.inputs, "input_ids", "attention_mask")
    assert_close(tokens.values, golden.outputs["encoder"])
    np.testing.assert_array_equal(tokens.mask, golden.inputs["attention_mask"])
    left_out = encoder.report.left_out
    assert left_out
    assert all(
        re.match(r"(model\.)?decoder\.|lm_head|final_logits_bias", name) for name in left_out
    )


@pytest.mark.parametrize("part", ["vision", "text"])
@pytest.mark.parametrize("name", sorted(TOWERS))
def test_a_tower_of_a_dual_tower(name, part, tmp_path):
    golden = goldens.load(name)
    encoder = load(goldens.write_folder(golden, tmp_path), part=part)
    pictures = {"pixel_values", "pixel_attention_mask", "spatial_shapes"} & {*golden.inputs}
    fields = {"vision": pictures, "text": {*golden.inputs} - pictures}[part]
    pooled = np.asarray(run(encoder, golden.inputs, *fields).pooled, np.float64)
    if TOWERS[name]:
        theirs = TOWERS[name].format({"vision": "visual"}.get(part, part))
        pooled = pooled @ golden.weights()[theirs].T
    joined = pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)
    assert_close(joined, golden.outputs[part])
    other = {"vision": "text_model.", "text": "vision_model."}[part]
    assert any(left.startswith(other) for left in encoder.report.left_out)


def test_a_side_is_saved_as_a_folder_of_its_own(tmp_path):
    golden = goldens.load("vision-text-dual-encoder_clip")
    folder = goldens.write_folder(golden, tmp_path / "whole")
    for part, family in (("vision", "clip_vision_model"), ("text", "roberta")):
        side = load(folder, part=part)
        again = load(save(side, tmp_path / part))
        assert again.model_type == family
        assert again.report.left_out == ()
        jax.tree.map(np.testing.assert_array_equal, again.variables, side.variables)


def test_sides_of_families_that_are_not_known(tmp_path):
    golden = goldens.load("vision-text-dual-encoder")
    config = {**golden.config, "text_config": {"model_type": "gptj"}}
    folder = goldens.write_folder(dataclasses.replace(golden, config=config), tmp_path)
    with pytest.raises(WeightsError, match="model_type 'gptj' is no known encoder"):
        load(folder)


def test_texts_are_embedded_without_pictures(golden_encoder):
    golden, encoder = golden_encoder("clip")
    found = run(encoder, golden.inputs, "input_ids", "attention_mask")
    assert set(found.values) == set(found.tokens) == {"text"}
    assert_close(found.values["text"], golden.outputs["text"])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"pixel_value": np.zeros((1, 12, 12, 3))}, "did you mean 'pixel_values'"),
        ({"attention_mask": np.ones((1, 2), bool)}, "enough for no tower"),
    ],
)
def test_fields_that_no_tower_takes(golden_encoder, fields, told):
    _, encoder = golden_encoder("clip")
    with pytest.raises(ConfigError, match=told):
        encoder.module.apply(encoder.variables, **fields, train=False)


def test_projections_are_left_out_of_a_tower(tmp_path):
    golden = goldens.load("clip_vision_model")
    weights = golden.weights() | {"visual_projection.weight": np.zeros((12, 20), np.float32)}
    encoder = load(weights_folder(golden, tmp_path, weights))
    assert encoder.report.left_out == ("visual_projection.weight",)


def test_bare_classes_of_encoder_decoders_have_the_tied_head(tmp_path):
    golden = goldens.load("bart")
    weights = golden.weights()
    weights.pop("final_logits_bias")
    bare = {name.removeprefix("model."): array for name, array in weights.items()}
    bare["encoder.embed_tokens.weight"] = bare["shared.weight"].copy()
    encoder = load(weights_folder(golden, tmp_path, bare))
    assert encoder.report.left_out == ()
    assert encoder.report.ignored == ("encoder.embed_tokens.weight",)
    found = run(encoder, golden.inputs, *golden.inputs)
    assert_close(found.tokens.values, golden.outputs["values"])
    assert_close(found.logits, golden.outputs["values"] @ weights["model.shared.weight"].T)


def test_heads_of_encoder_decoders_are_left_out(tmp_path):
    golden = goldens.load("bart")
    weights = golden.weights()
    weights.pop("final_logits_bias")
    weights["classification_head.dense.weight"] = np.zeros((16, 16), np.float32)
    encoder = load(weights_folder(golden, tmp_path, weights))
    assert encoder.report.left_out == ("classification_head.dense.weight",)


def test_a_folder_of_an_encoder_alone(tmp_path):
    """As T5EncoderModel saves it."""
    golden = goldens.load("t5")
    alone = {key: array for key, array in golden.weights().items() if "decoder" not in key}
    folder = weights_folder(golden, tmp_path, alone)
    with pytest.raises(WeightsError, match=r"an encoder only.*folder#encoder"):
        load(folder)
    encoder = load(folder, part="encoder")
    assert encoder.report.left_out == encoder.report.ignored == ()
    tokens = run(encoder, golden.inputs, "input_ids", "attention_mask")
    assert_close(tokens.values, golden.outputs["encoder"])


@pytest.mark.parametrize("name", ["bart_unequal", "clip", "umt5"])
def test_scanned_layers_compute_the_same(name, tmp_path):
    golden = goldens.load(name)
    encoder = load(goldens.write_folder(golden, tmp_path), scan=True, remat="full")
    places = [ours for _, ours in encoder.report.loaded]
    assert any("/layers/" in place for place in places)
    assert not any("/layer_" in place for place in places)
    assert max(errors(golden, encoder).values()) <= 1e-5


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_encoding_and_decoding_apart(name, golden_encoder):
    """As generation does, which encodes once."""
    golden, encoder = golden_encoder(name)
    module = encoder.module
    inputs = {key: golden.inputs[key][:, :4] for key in ("input_ids", "attention_mask")}
    ids = golden.inputs["decoder_input_ids"][:, :3]

    @jax.jit
    def apart(variables):
        tokens = module.apply(variables, **inputs, method="encode", train=False)
        return module.apply(variables, ids, tokens, method="decode", train=False).logits

    logits = apart(encoder.variables)
    whole = run(encoder, {**inputs, "decoder_input_ids": ids}, *inputs, "decoder_input_ids")
    np.testing.assert_allclose(logits, whole.logits, atol=1e-5)


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_sides_that_share_their_weights_are_refused(name, tmp_path):
    golden = goldens.load(name)
    config = {**golden.config, "tie_encoder_decoder": True}
    folder = goldens.write_folder(dataclasses.replace(golden, config=config), tmp_path)
    with pytest.raises(WeightsError, match="tie_encoder_decoder = True is not supported"):
        load(folder)


def test_fixed_positions_that_a_folder_lacks_are_computed(tmp_path):
    """As in folders of Flax Pegasus; torch saves the table."""
    golden = goldens.load("pegasus")
    weights = golden.weights()
    places = [f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")]
    angles = np.arange(12)[:, None] / 10000 ** (np.arange(8) / 8)
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    weights |= dict.fromkeys(places, table)
    given = load(weights_folder(golden, tmp_path / "given", weights))
    lacking = {key: array for key, array in weights.items() if key not in places}
    computed = load(weights_folder(golden, tmp_path / "computed", lacking))
    assert "positions" not in computed.params["encoder"]
    results = [run(one, golden.inputs, *golden.inputs).logits for one in (given, computed)]
    assert_close(results[0], np.asarray(results[1]))
    again = load(save(computed, tmp_path / "again"))
    np.testing.assert_allclose(again.params["encoder"]["positions"], table, atol=1e-7)


def test_too_many_tokens_for_the_positions(golden_encoder):
    golden, encoder = golden_encoder("bart")
    inputs = {**golden.inputs, "decoder_input_ids": np.ones((3, 13), np.int32)}
    inputs.pop("decoder_attention_mask")
    with pytest.raises(Exception, match="13 tokens are more than max_length=12"):
        encoder.module.apply(encoder.variables, **inputs, train=False)


def test_a_part_that_there_is_not(tmp_path):
    folder = goldens.write_folder(goldens.load("bart"), tmp_path)
    with pytest.raises(WeightsError, match="did you mean 'encoder'"):
        load(folder, part="encode")
