"""Picture and video encoders from folders of classes with a head, and settings that are refused."""

from __future__ import annotations

import json
import math
import re

import goldens
import jax
import numpy as np
import pytest
from flax import serialization, traverse_util
from safetensors.numpy import save_file

from mmjax.core.errors import WeightsError
from mmjax.pretrained import find
from mmjax.pretrained.load import abstract, load, open_folder

HEADS = {
    "beit": ("beit.", ("classifier.weight", "classifier.bias")),
    "beit_masked": ("beit.", ("layernorm.weight", "layernorm.bias", "lm_head.weight")),
    "convnext": ("convnext.", ("classifier.weight",)),
    "deit": ("deit.", ("cls_classifier.weight", "distillation_classifier.weight")),
    "dinov2": ("dinov2.", ("classifier.weight",)),
    "resnet": ("resnet.", ("classifier.1.weight", "classifier.1.bias")),
    "swin": ("swin.", ("classifier.weight",)),
    "timesformer": ("timesformer.", ("classifier.weight",)),
    "videomae": ("videomae.", ("fc_norm.weight", "classifier.weight")),
}
"""Golden cases, and what a class with a head puts before their names and adds to them."""

REFUSED = [
    ("vit", "pooler_output_size", 12),
    ("deit", "hidden_act", "gelu_10"),
    ("dinov2", "image_size", [12, 16]),
    ("swin", "use_absolute_embeddings", True),
    ("convnext", "num_stages", 3),
]


def with_weights(golden, folder, weights):
    goldens.write_folder(golden, folder)
    save_file(weights, str(folder / "model.safetensors"))
    return folder


@pytest.mark.parametrize("name", sorted(HEADS))
def test_heads_are_left_out(name, golden_encoder, tmp_path):
    golden, encoder = golden_encoder(name)
    prefix, heads = HEADS[name]
    weights = {f"{prefix}{key}": array for key, array in golden.weights().items()}
    weights |= {head: np.ones(3, np.float32) for head in heads}
    headed = load(with_weights(golden, tmp_path, weights))
    assert headed.report.left_out == tuple(sorted(heads))
    jax.tree.map(np.testing.assert_array_equal, headed.variables, encoder.variables)


@pytest.mark.parametrize("name", ["vit", "vivit"])
def test_a_classifier_has_no_pooler(name, tmp_path):
    """Then the class token is `pooled`, which is what the classifier takes."""
    golden = goldens.load(name)
    weights = {
        f"{name}.{key}": array
        for key, array in golden.weights().items()
        if not key.startswith("pooler")
    }
    weights["classifier.weight"] = np.ones((3, 24), np.float32)
    encoder = load(with_weights(golden, tmp_path, weights))
    assert encoder.report.left_out == ("classifier.weight",)
    apply = jax.jit(lambda v, x: encoder.module.apply(v, pixel_values=x, train=False))
    tokens = apply(encoder.variables, golden.inputs["pixel_values"])
    np.testing.assert_allclose(tokens.pooled, golden.outputs["values"][:, 0], atol=1e-5)


def test_a_mask_token_is_taken_where_there_is_one(tmp_path):
    golden = goldens.load("vit")
    token = np.arange(24, dtype=np.float32).reshape(1, 1, 24)
    weights = {f"vit.{key}": array for key, array in golden.weights().items()}
    weights["vit.embeddings.mask_token"] = token
    encoder = load(with_weights(golden, tmp_path, weights))
    np.testing.assert_array_equal(encoder.params["mask_token"], token)
    assert not encoder.report.left_out


@pytest.mark.parametrize(("name", "field", "value"), REFUSED)
def test_settings_that_would_change_the_computation_are_refused(name, field, value, tmp_path):
    folder = goldens.write_folder(goldens.load(name), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, field: value}))
    with pytest.raises(WeightsError, match=f"MMX-652.*{field}"):
        open_folder(folder)


def test_basic_blocks_as_flax_names_them(golden_encoder, tmp_path):
    """FlaxResNet calls what is `layer.0` in torch `layer/layer_0`, in basic blocks alone."""
    golden, encoder = golden_encoder("resnet_basic")
    flat = {}
    for key, array in golden.weights().items():
        *path, leaf = re.sub(r"\.layer\.(\d)\.", r".layer.layer_\1.", key).split(".")
        if leaf == "num_batches_tracked":
            continue
        collection = "batch_stats" if leaf.startswith("running") else "params"
        if array.ndim == 4:
            leaf, array = "kernel", array.transpose(2, 3, 1, 0)
        ours = {"weight": "scale", "running_mean": "mean", "running_var": "var"}.get(leaf, leaf)
        flat[(collection, *path, ours)] = np.ascontiguousarray(array)
    (tmp_path / "config.json").write_text(json.dumps(golden.config))
    tree = traverse_util.unflatten_dict(flat)
    (tmp_path / "flax_model.msgpack").write_bytes(serialization.msgpack_serialize(tree))
    found = load(tmp_path)
    assert found.report.format == "msgpack"
    jax.tree.map(np.testing.assert_array_equal, found.variables, encoder.variables)


PARAMETERS = {
    "beit": 85_656_576,
    "convnext": 27_820_128,
    "convnextv2": 27_866_496,
    "deit": 86_390_784,
    "dinov2": 85_725_696,
    "swin": 27_519_354,
    "timesformer": 121_258_752,
    "videomae": 86_225_664,
    "vivit": 89_236_992,
}
"""Of the base class with its config's defaults, as torch counts them."""


@pytest.mark.parametrize("model_type", sorted(PARAMETERS))
def test_real_sizes_have_the_parameters_of_the_torch_class(model_type):
    from transformers import CONFIG_MAPPING

    family, config = find(model_type), CONFIG_MAPPING[model_type]()
    names = {leaf.theirs for leaf in family.table(config)} - {"embeddings.mask_token"}
    if getattr(config, "use_mask_token", False):
        names.add("embeddings.mask_token")
    module = family.registry.build(family.spec(config, frozenset(names)))
    shapes = abstract(module, family.inputs(config))
    assert sum(math.prod(leaf.shape) for leaf in shapes.values()) == PARAMETERS[model_type]
