"""LoRA folders of PEFT on a tiny BERT: read, written, and what the model gives with them."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mmjax.core.errors import WeightsError
from mmjax.pretrained import peft
from mmjax.pretrained.load import load

GOLDEN = Path(__file__).parents[1] / "golden" / "adapt"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "peft_folders.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def bert():
    return load(GOLDEN / "peft_bert")


@pytest.mark.parametrize("name", ["plain", pytest.param("dora", marks=pytest.mark.slow)])
def test_a_folder_of_peft_is_read_and_written(bert, golden, name, tmp_path):
    if name == "plain":
        bert = load(GOLDEN / "peft_bert", scan=True)
    folder = GOLDEN / f"peft_lora_{name}"
    found = peft.load(bert, folder)
    mask = golden["mask"].astype(bool)
    fields = {"input_ids": golden["tokens"].astype(np.int32), "attention_mask": mask}
    run = jax.jit(lambda variables: found.module.apply(variables, **fields, train=False).values)
    expected = golden[f"{name}/hidden"]
    with_adapter = np.asarray(run(found.variables))
    np.testing.assert_allclose(with_adapter[mask], expected[mask], atol=1e-5)
    without = {"params": {**found.params, "adapt": {}}}
    assert not np.allclose(run(without)[0], with_adapter[0], atol=1e-2)
    written = peft.save(found, tmp_path / "out")
    theirs, ours = (load_file(f / peft.WEIGHTS) for f in (folder, written))
    assert theirs.keys() == ours.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)
    before, after = (json.loads((f / peft.SETTINGS).read_text()) for f in (folder, written))
    for key in ("r", "lora_alpha", "use_rslora", "use_dora", "fan_in_fan_out", "peft_type", "bias"):
        assert after[key] == before[key]
    named = {key.split(".lora_")[0].removeprefix("base_model.model.") for key in theirs}
    assert set(after["target_modules"]) == named
    with pytest.raises(WeightsError, match="holds an adapter already"):
        peft.save(found, tmp_path / "out")


@pytest.mark.parametrize("name", ["embeddings", "patches", "patches_dora"])
def test_embeddings_and_convolutions_of_peft(name, tmp_path):
    with np.load(GOLDEN / "peft_more_folders.npz") as file:
        golden = dict(file)
    folder = GOLDEN / f"peft_lora_{name}"
    if name == "embeddings":
        encoder = load(GOLDEN / "peft_bert")
        tokens = golden["tokens"].astype(np.int32)
        fields = {"input_ids": tokens, "attention_mask": np.ones(tokens.shape, bool)}
    else:
        encoder = load(GOLDEN / "peft_vit")
        fields = {"pixel_values": np.moveaxis(golden["pixels"], 1, -1)}
    found = peft.load(encoder, folder)
    run = jax.jit(lambda variables: found.module.apply(variables, **fields, train=False).values)
    np.testing.assert_allclose(run(found.variables), golden[f"{name}/hidden"], atol=1e-5)
    written = peft.save(found, tmp_path / "out")
    theirs, ours = (load_file(f / peft.WEIGHTS) for f in (folder, written))
    assert theirs.keys() == ours.keys()
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"peft_type": "IA3"}, "is a IA3"),
        ({"rank_pattern": {"query": 4}}, "rank_pattern"),
        ({"bias": "all"}, "bias"),
    ],
)
def test_what_cannot_be_read_is_refused(bert, tmp_path, change, told):
    source = GOLDEN / "peft_lora_plain"
    settings = json.loads((source / peft.SETTINGS).read_text())
    (tmp_path / peft.SETTINGS).write_text(json.dumps({**settings, **change}))
    (tmp_path / peft.WEIGHTS).write_bytes((source / peft.WEIGHTS).read_bytes())
    with pytest.raises(WeightsError, match=told):
        peft.load(bert, tmp_path)
