"""Text encoders from folders of classes with a head, and settings that are refused."""

from __future__ import annotations

import json

import goldens
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mmjax.core.errors import ConfigError, WeightsError
from mmjax.pretrained import find
from mmjax.pretrained.load import load, open_folder
from mmjax.pretrained.save import save

HEADS = {
    "albert": ("albert.", ("predictions.dense.weight", "predictions.bias")),
    "camembert": ("roberta.", ("lm_head.dense.weight", "lm_head.bias")),
    "deberta-v2": ("deberta.", ("pooler.dense.weight", "classifier.bias")),
    "distilbert": ("distilbert.", ("vocab_transform.weight", "vocab_projector.bias")),
    "electra": ("electra.", ("discriminator_predictions.dense.weight",)),
    "modernbert": ("model.", ("head.dense.weight", "decoder.bias")),
    "mpnet": ("mpnet.", ("lm_head.dense.weight", "lm_head.bias")),
    "roberta": ("roberta.", ("classifier.dense.weight", "classifier.out_proj.bias")),
}
"""Golden cases, and what a class with a head puts before their names and adds to them."""

REFUSED = [
    ("encoder-decoder", "decoder", {"model_type": "bert", "add_cross_attention": True}),
    ("modernbert", "rope_scaling", {"rope_type": "linear", "factor": 2.0}),
    ("bloom", "apply_residual_connection_post_layernorm", True),
    ("gptj", "rotary_dim", None),
    ("llama", "rope_scaling", {"rope_type": "yarn", "factor": 2.0}),
    ("llama", "pretraining_tp", 2),
    ("opt", "layer_norm_elementwise_affine", False),
    ("mpnet", "relative_attention_num_buckets", 16),
    ("gpt2", "add_cross_attention", True),
    ("roberta", "position_embedding_type", "relative_key"),
    ("electra", "is_decoder", True),
    ("albert", "hidden_act", "gelu_10"),
]


@pytest.mark.parametrize("name", sorted(HEADS))
def test_heads_are_left_out(name, golden_encoder, tmp_path):
    golden, encoder = golden_encoder(name)
    prefix, heads = HEADS[name]
    weights = {f"{prefix}{key}": array for key, array in golden.weights().items()}
    goldens.write_folder(golden, tmp_path)
    save_file(
        {**weights, **{head: np.ones(3, np.float32) for head in heads}},
        str(tmp_path / "model.safetensors"),
    )
    headed = load(tmp_path)
    assert headed.report.left_out == tuple(sorted(heads))
    jax.tree.map(np.testing.assert_array_equal, headed.variables, encoder.variables)


@pytest.mark.parametrize("name", ["albert", "roberta"])
def test_without_a_pooler_the_mean_is_pooled(name, tmp_path):
    golden = goldens.load(name)
    goldens.write_folder(golden, tmp_path)
    weights = {key: w for key, w in golden.weights().items() if not key.startswith("pooler")}
    save_file(weights, str(tmp_path / "model.safetensors"))
    bare = load(tmp_path)
    tokens = bare.module.apply(bare.variables, **golden.inputs, train=False)
    mask = golden.inputs["attention_mask"][..., None]
    mean = (golden.outputs["values"] * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(tokens.pooled, mean, atol=1e-5)


@pytest.mark.parametrize(("name", "field", "value"), REFUSED)
def test_settings_that_would_change_the_computation_are_refused(name, field, value, tmp_path):
    folder = goldens.write_folder(goldens.load(name), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(WeightsError, match=f"MMX-652.*{field}"):
        open_folder(folder)


def test_a_language_model_from_the_base_class_and_from_one_with_another_head(
    golden_encoder, tmp_path
):
    golden, lm = golden_encoder("gpt2")
    base = {key.removeprefix("transformer."): w for key, w in golden.weights().items()}
    buffers = {f"h.{i}.attn.bias": np.ones((1, 1, 16, 16), np.float32) for i in range(2)}
    scored = {**golden.weights(), "score.weight": np.ones((2, 24), np.float32)}
    for name, weights in {"base": {**base, **buffers}, "scored": scored}.items():
        folder = goldens.write_folder(golden, tmp_path / name)
        save_file(weights, str(folder / "model.safetensors"))
        found = load(folder)
        jax.tree.map(np.testing.assert_array_equal, found.variables, lm.variables)
        assert found.report.left_out == (("score.weight",) if name == "scored" else ())
        assert found.report.ignored == (tuple(sorted(buffers)) if name == "base" else ())


@pytest.mark.parametrize("name", ["gpt2", "gpt2_options", "opt_350m"])
def test_a_language_model_as_encoder(name, golden_encoder, tmp_path):
    golden, _ = golden_encoder(name)
    encoder = load(f"{goldens.write_folder(golden, tmp_path)}#encoder")
    tokens = encoder.module.apply(encoder.variables, **golden.inputs, train=False)
    mask = golden.inputs["attention_mask"].astype(bool)
    np.testing.assert_array_equal(tokens.mask, mask)
    theirs = golden.outputs["values"]
    np.testing.assert_allclose(tokens.values[mask], theirs[mask], atol=1e-4)
    last = theirs[np.arange(3), 6 - mask[:, ::-1].argmax(1)]
    np.testing.assert_allclose(tokens.pooled, last, atol=1e-4)
    heads = {"lm_head.weight"} & golden.shapes.keys()
    assert encoder.report.left_out == tuple(heads)
    save(encoder, tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    prefix = find(encoder.config.model_type).prefix
    assert saved.keys() == {key.removeprefix(prefix) for key in golden.shapes.keys() - heads}
    for key, array in saved.items():
        np.testing.assert_array_equal(array, golden.weights()[f"{prefix}{key}"])


def test_sparse_attention_is_refused_where_it_would_not_be_full(golden_encoder):
    _, encoder = golden_encoder("big_bird_sparse")
    assert encoder.spec.options["longest"] == 14
    ids = np.ones((1, 15), np.int32)
    with pytest.raises(ConfigError, match="15 tokens are more than the 14"):
        encoder.module.apply(encoder.variables, ids, ids, train=False)


@pytest.mark.parametrize("name", ["encoder-decoder", "vision-encoder-decoder"])
def test_the_encoder_of_a_pair_alone(name, golden_encoder, tmp_path):
    golden, _ = golden_encoder(name)
    encoder = load(f"{goldens.write_folder(golden, tmp_path)}#encoder")
    fields = {key: a for key, a in golden.inputs.items() if not key.startswith("decoder")}
    tokens = encoder.module.apply(encoder.variables, **fields, train=False)
    mask = np.asarray(tokens.mask)
    np.testing.assert_allclose(tokens.values[mask], golden.outputs["encoder"][mask], atol=1e-5)
    decoder = {key for key in golden.shapes if not key.startswith("encoder.")}
    assert set(encoder.report.left_out) == decoder
    save(encoder, tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.model_type == encoder.config.model_type
    jax.tree.map(np.testing.assert_array_equal, again.variables, encoder.variables)
