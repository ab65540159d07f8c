"""Folders that must be refused: each with one error that says what, where, and what to do."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import goldens
import numpy as np
import pytest
from flax import serialization
from safetensors.numpy import save_file

from mmjax.core.errors import WeightsError
from mmjax.pretrained.load import load


@pytest.fixture
def bert(tmp_path) -> Path:
    return goldens.write_folder(goldens.load("bert"), tmp_path / "bert")


def rewrite(folder: Path, **changes: np.ndarray | None) -> Path:
    """The folder with weights changed, or left out where None; `_` in a name stands for a dot."""
    weights = {**goldens.load("bert").weights(), **changes}
    save_file(
        {key: value for key, value in weights.items() if value is not None},
        str(folder / "model.safetensors"),
    )
    return folder


def refusal(folder, **options) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return caught.value


class Bomb:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "model.pt", "model.safetensors", "flax_model.msgpack"],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_are_never_opened(name, zipped, bert, tmp_path):
    (bert / "model.safetensors").unlink()
    content = pickle.dumps(Bomb(tmp_path / "exploded"))
    if zipped:
        with zipfile.ZipFile(bert / name, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        (bert / name).write_bytes(content)
    error = refusal(bert)
    assert error.code == 653
    assert name in error.what
    assert "safetensors" in error.fix
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_beside_safetensors_is_left_alone(bert, tmp_path):
    (bert / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    load(bert)
    assert not (tmp_path / "exploded").exists()


def test_every_misfit_is_told_at_once(bert):
    error = refusal(
        rewrite(
            bert,
            **{
                "embeddings.LayerNorm.bias": None,
                "encoder.layer.0.output.dense.weight": None,
                "encoder.layer.0.output.dens.weight": np.zeros((24, 40), np.float32),
                "surprise": np.zeros(3, np.float32),
                "pooler.dense.weight": np.zeros((24, 25), np.float32),
            },
        )
    )
    assert error.code == 655
    assert "2 missing: 'embeddings.LayerNorm.bias'" in error.what
    assert (
        "'encoder.layer.0.output.dense.weight' (there is 'encoder.layer.0.output.dens.weight')"
        in error.what
    )
    assert "2 unexpected: 'encoder.layer.0.output.dens.weight'" in error.what
    assert "'surprise'" in error.what
    assert "1 mis-shaped: 'pooler.dense.weight' [24 25], expected [24 24]" in error.what


def test_long_lists_are_cut(bert):
    many = {f"extra.{i}": np.zeros(1, np.float32) for i in range(30)}
    error = refusal(rewrite(bert, **many))
    assert "30 unexpected" in error.what
    assert error.what.count("extra.") == 20


def test_weights_of_another_architecture(bert):
    weights = goldens.load("vit").weights()
    save_file(weights, str(bert / "model.safetensors"))
    error = refusal(bert)
    assert error.code == 655
    assert "only 35% of the names are those of a 'bert'" in error.fix


def test_another_size(bert):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    error = refusal(bert)
    assert "4 mis-shaped" not in error.what
    assert "'encoder.layer.0.intermediate.dense.weight' [40 24], expected [48 24]" in error.what
    assert "6 mis-shaped" in error.what


@pytest.mark.parametrize("keep", [0, 4, 200, 0.5, -1])
def test_truncated_safetensors(keep, bert):
    path = bert / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    error = refusal(bert)
    assert error.code == 654
    assert str(path) in error.where


def test_a_huge_header(bert):
    (bert / "model.safetensors").write_bytes((2**60).to_bytes(8, "little") + b"{}" + b"\0" * 100)
    assert refusal(bert).code == 654


@pytest.mark.parametrize("damage", ["empty", "half", "junk", "more", "no arrays"])
def test_damaged_msgpack(damage, bert):
    (bert / "model.safetensors").unlink()
    whole = serialization.msgpack_serialize({"a": {"kernel": np.ones((3, 4), np.float32)}})
    content = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "junk": bytes(range(200, 256)) * 4,
        "more": whole + b"\x01",
        "no arrays": serialization.msgpack_serialize({"a": 3}),
    }
    path = bert / "flax_model.msgpack"
    path.write_bytes(content[damage])
    error = refusal(bert)
    assert error.code == 654
    assert str(path) in error.where


def test_unknown_model_type(bert):
    (bert / "config.json").write_text('{"model_type": "bret"}')
    error = refusal(bert)
    assert error.code == 652
    assert "'bret'" in error.what
    assert error.fix.startswith("did you mean 'bert'?")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "no config.json"),
        ("{", "damaged"),
        ("[]", "no object"),
        ("{}", "names no model_type"),
        ('{"model_type": "bert", "hidden_act": "gleu"}', "'gleu' is not known"),
        ('{"model_type": "bert", "pruned_heads": {"1": [0]}}', "pruned_heads = {'1': [0]}"),
        ('{"model_type": "bert", "quantization_config": {"bits": 4}}', "is not supported"),
    ],
)
def test_config(content, what, bert):
    path = bert / "config.json"
    path.unlink() if content is None else path.write_text(content)
    assert what in refusal(bert).what


def test_no_such_folder(bert):
    error = refusal(bert.parent / "brt" / "x")
    assert error.code == 650
    error = refusal(str(bert.parent / "bertt"))
    assert error.code == 650
    assert f"did you mean '{bert}'?" in error.fix
    error = refusal(bert / "model.safetensors")
    assert "is a file" in error.what
    assert str(bert) in error.fix


def test_no_weights(bert):
    (bert / "model.safetensors").unlink()
    error = refusal(bert)
    assert error.code == 650
    assert "there is: config.json" in error.fix


def test_missing_shards(bert):
    (bert / "model.safetensors").unlink()
    index = bert / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    assert "shards are missing: model-00001-of-00002.safetensors" in refusal(bert).what
    index.write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    assert "files elsewhere" in refusal(bert).what
    index.write_text("{")
    assert "index is damaged" in refusal(bert).what


def test_a_part_that_is_none(bert):
    error = refusal(bert, part="vision")
    assert "no part 'vision'" in error.what


def test_heads_are_left_out(bert):
    weights = {f"bert.{key}": value for key, value in goldens.load("bert").weights().items()}
    heads = {"classifier.weight": np.zeros((2, 24), np.float32), "classifier.bias": np.zeros(2)}
    save_file({**weights, **heads}, str(bert / "model.safetensors"))
    encoder = load(bert)
    assert encoder.report.left_out == ("classifier.bias", "classifier.weight")
    assert "2 left out ('classifier.bias', 'classifier.weight')" in encoder.report.summary()


def test_a_masked_language_model_has_no_pooler(bert):
    none = {"pooler.dense.weight": None, "pooler.dense.bias": None}
    assert load(rewrite(bert, **none)).module.pooling == "mean"
