"""What is saved is what was loaded: names, shapes and bits, for every golden case."""

from __future__ import annotations

import json

import goldens
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mmjax.core.errors import WeightsError
from mmjax.pretrained import find
from mmjax.pretrained.load import load
from mmjax.pretrained.save import save

WHOLE = [name for name in goldens.names() if not goldens.load(name).options.get("part")]


@pytest.mark.parametrize("name", WHOLE)
def test_saves_what_the_torch_class_saved(name, golden_encoder, tmp_path):
    golden, encoder = golden_encoder(name)
    save(encoder, tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    theirs = golden.weights()
    assert ours.keys() == theirs.keys()
    for key, array in theirs.items():
        assert ours[key].dtype == array.dtype
        np.testing.assert_array_equal(ours[key], array)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == [find(golden.config["model_type"]).saved_as]
    same = {k: v for k, v in golden.config.items() if k in config and k != "architectures"}
    assert {key: config[key] for key in same} == same


def test_shards_hold_the_same(golden_encoder, tmp_path):
    golden, encoder = golden_encoder("bert")
    save(encoder, tmp_path, max_shard_bytes=8000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in tmp_path.glob("model-*.safetensors"))
    assert len(files) > 2
    assert sorted(set(index["weight_map"].values())) == files
    assert index["weight_map"].keys() == golden.shapes.keys()
    again = load(tmp_path)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), again.variables, encoder.variables)
    assert all(jax.tree.leaves(same))


def test_scanned_layers_are_saved_one_by_one(golden_encoder, tmp_path):
    golden, _ = golden_encoder("bert")
    folder = goldens.write_folder(golden, tmp_path / "in")
    scanned = load(folder, scan=True)
    stacked = scanned.params["transformer"]["stack"]["layers"]["mlp"]["up"]["kernel"]
    assert stacked.shape == (2, 24, 40)
    save(scanned, tmp_path / "out")
    ours = load_file(tmp_path / "out" / "model.safetensors")
    for key, array in golden.weights().items():
        np.testing.assert_array_equal(ours[key], array)


def test_weights_are_not_written_over(golden_encoder, tmp_path):
    _, encoder = golden_encoder("vit")
    save(encoder, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(WeightsError, match="656"):
        save(encoder, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    save(encoder, tmp_path, overwrite=True)


def test_what_was_left_out_cannot_be_saved(golden_encoder, tmp_path):
    golden, _ = golden_encoder("bert")
    encoder = load(goldens.write_folder(golden, tmp_path / "in"), pooling="mean")
    assert encoder.report.left_out == ("pooler.dense.bias", "pooler.dense.weight")
    with pytest.raises(WeightsError, match=r"pooler\.dense\.weight"):
        save(encoder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
