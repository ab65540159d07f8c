"""From a Hugging Face folder to Orbax and back, by the names that users type."""

from __future__ import annotations

import json
from pathlib import Path

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax import cli
from mmjax.core.config import spec_to_json
from mmjax.core.errors import CheckpointError, WeightsError
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.pretrained import find


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return goldens.write_bert(tmp_path_factory.mktemp("bert"), ("a",))


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "out"
    assert cli.main(["convert", str(folder), str(out)]) == 0
    return out


def same(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_converted_folders_load_as_the_original(folder, converted):
    theirs, ours = mmjax.load_pretrained(folder), mmjax.load_pretrained(converted)
    same(ours.variables, theirs.variables)
    assert ours.module == theirs.module
    assert ours.spec.name == theirs.spec.name
    assert ours.config.to_dict() == theirs.config.to_dict()
    assert ours.report == theirs.report


@pytest.mark.parametrize("name", ["clip", "resnet", "t5"])
def test_towers_batch_statistics_and_decoders_are_converted(name, tmp_path):
    source = goldens.write_folder(goldens.load(name), tmp_path / "in")
    mmjax.convert(source, tmp_path / "out")
    theirs, ours = mmjax.load_pretrained(source), mmjax.load_pretrained(tmp_path / "out")
    same(ours.variables, theirs.variables)
    registry = find(theirs.model_type).registry
    assert spec_to_json(registry, ours.spec) == spec_to_json(registry, theirs.spec)


def test_a_converted_folder_tells_of_every_weight(converted):
    report = json.loads((converted / "conversion.json").read_text())
    assert {one["theirs"] for one in report["loaded"]} == goldens.load("bert").shapes.keys()
    assert all(one["ours"].startswith("params/") for one in report["loaded"])


def test_the_processor_comes_along(converted):
    encoder = mmjax.load_pretrained(converted)
    fields = encoder.processor(text=["a a"])
    assert fields["input_ids"].tolist() == [[2, 5, 5, 3]]
    tokens = encoder.module.apply(encoder.variables, **fields, train=False)
    assert tokens.values.shape == (1, 4, 24)


def test_straight_onto_a_mesh(folder, converted):
    mesh = make_mesh(MeshConfig(fsdp=8), jax.local_devices())
    plain = mmjax.load_pretrained(folder)
    for source in (folder, converted):
        split = mmjax.load_pretrained(source, mesh=mesh)
        same(split.variables, plain.variables)
        kernel = split.params["transformer"]["stack"]["layer_0"]["mlp"]["up"]["kernel"]
        assert kernel.sharding.spec == jax.sharding.PartitionSpec("fsdp", None)
        assert kernel.addressable_shards[0].data.shape == (3, 40)


@pytest.mark.parametrize("which", ["original", "converted"])
def test_in_another_type(which, folder, converted):
    source = folder if which == "original" else converted
    half = mmjax.load_pretrained(source, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.variables)} == {jnp.dtype("bfloat16")}
    assert half.module.dtype == jnp.bfloat16
    whole = mmjax.load_pretrained(folder).variables
    same(half.variables, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), whole))


def test_trained_parameters_are_saved(folder, tmp_path):
    encoder = mmjax.load_pretrained(folder)
    trained = jax.tree.map(lambda leaf: leaf + 1, encoder.variables)
    mmjax.save_pretrained(encoder.replace(variables=trained), tmp_path / "saved")
    assert (tmp_path / "saved" / "vocab.txt").read_text() == (folder / "vocab.txt").read_text()
    same(mmjax.load_pretrained(tmp_path / "saved").variables, trained)


def test_attention_and_hidden_states_on_request(folder):
    encoder = mmjax.load_pretrained(folder)
    golden = goldens.load("bert")
    tokens, sown = encoder.module.apply(
        encoder.variables, **golden.inputs, train=False, mutable=["intermediates"]
    )
    layers = sown["intermediates"]["transformer"]["stack"]
    (weights,) = layers["layer_1"]["attention"]["weights"]
    mask = golden.inputs["attention_mask"]
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert not np.asarray(weights)[1, :, :, mask[1] == 0].any()
    np.testing.assert_array_equal(layers["layer_1"]["hidden"][0], tokens.values)


def test_nothing_is_left_of_a_conversion_that_fails(folder, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    assert cli.main(["convert", str(folder), str(tmp_path / "full")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["convert", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "MMX-650" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_damage_after_conversion_is_found(folder, tmp_path):
    mmjax.convert(folder, tmp_path / "out")
    arrays = [p for p in (tmp_path / "out" / "checkpoints").rglob("*") if "/d/" in str(p)]
    largest = max(arrays, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(CheckpointError):
        mmjax.load_pretrained(tmp_path / "out")


def test_a_converted_folder_has_no_options(converted, tmp_path):
    with pytest.raises(WeightsError, match="657"):
        mmjax.load_pretrained(converted, scan=True)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "encoder.json").write_text("{}")
    with pytest.raises(WeightsError, match="damaged"):
        mmjax.load_pretrained(broken)
