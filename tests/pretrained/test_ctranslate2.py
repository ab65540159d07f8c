"""Whisper folders in CTranslate2's form: a file written by the format's description, read back."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from mmjax.core.errors import WeightsError
from mmjax.pretrained.ctranslate2 import to_huggingface
from mmjax.pretrained.folder import weight_files

sys.path.append(str(Path(__file__).resolve().parents[1] / "generate"))
import generation

GOLDEN = json.loads(generation.FILE.read_text())["whisper"]
TYPES = {"float32": 0, "int8": 1, "float16": 4}
TOKENS = ("endoftext", "startoftranscript", "startofprev", "nocaptions", "notimestamps")


def text(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def variable(name: str, value: np.ndarray) -> bytes:
    head = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
    tail = struct.pack("<BI", TYPES[str(value.dtype)], value.nbytes)
    return text(name) + head + tail + value.tobytes()


def variables(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The golden family's weights by CTranslate2's names, self-attention as one matrix."""
    found = {"decoder/embeddings/weight": weights["model.decoder.embed_tokens.weight"]}
    for name in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            found[f"encoder/{name}/{part}"] = weights[f"model.encoder.{name}.{part}"]
    norms = {"weight": "gamma", "bias": "beta"}
    for side in ("encoder", "decoder"):
        found[f"{side}/num_heads"] = np.array(2, np.int8)
        whole = f"model.{side}"
        places = weights[f"{whole}.embed_positions.weight"]
        found[f"{side}/position_encodings/encodings"] = places
        for theirs, ours in norms.items():
            found[f"{side}/layer_norm/{ours}"] = weights[f"{whole}.layer_norm.{theirs}"]
        for index in range(2):
            layer, out = f"{whole}.layers.{index}", f"{side}/layer_{index}"
            groups = {"self_attn": ("self_attention", ("qkv", "o"))}
            if side == "decoder":
                groups["encoder_attn"] = ("attention", ("q", "kv", "o"))
            for short, (name, parts) in groups.items():
                for theirs, ours in norms.items():
                    norm = weights[f"{layer}.{short}_layer_norm.{theirs}"]
                    found[f"{out}/{name}/layer_norm/{ours}"] = norm
                for number, letters in enumerate(parts):
                    names = [f"{layer}.{short}.{'out' if x == 'o' else x}_proj" for x in letters]
                    stacked = [weights[f"{one}.weight"] for one in names]
                    biases = [
                        weights.get(f"{one}.bias", np.zeros(len(weight), weight.dtype))
                        for one, weight in zip(names, stacked, strict=True)
                    ]
                    linear = f"{out}/{name}/linear_{number}"
                    found[f"{linear}/weight"] = np.concatenate(stacked)
                    found[f"{linear}/bias"] = np.concatenate(biases)
            for theirs, ours in norms.items():
                found[f"{out}/ffn/layer_norm/{ours}"] = weights[
                    f"{layer}.final_layer_norm.{theirs}"
                ]
                for number in (0, 1):
                    linear = weights[f"{layer}.fc{number + 1}.{theirs}"]
                    found[f"{out}/ffn/linear_{number}/{theirs}"] = linear
    return {**found, "decoder/activation": np.array(3, np.int8)}


def write(folder: Path, found: dict[str, np.ndarray], *, name="WhisperSpec") -> Path:
    folder.mkdir(exist_ok=True)
    parts = [struct.pack("<I", 6), text(name), struct.pack("<II", 3, len(found))]
    parts += [variable(*one) for one in found.items()]
    alias = text("decoder/projection/weight") + text("decoder/embeddings/weight")
    (folder / "model.bin").write_bytes(b"".join([*parts, struct.pack("<I", 1), alias]))
    added = [{"id": 40 + i, "content": f"<|{one}|>"} for i, one in enumerate(TOKENS)]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    ids = {"suppress_ids": [5, 6], "suppress_ids_begin": [7], "lang_ids": [41]}
    (folder / "config.json").write_text(json.dumps(ids))
    return folder


@pytest.fixture(scope="module")
def weights():
    shapes = GOLDEN["shapes"]
    return {
        name: generation.weight(name, tuple(shape)).astype(np.float16)
        for name, shape in shapes.items()
        if name != "proj_out.weight"
    }


def test_every_weight_goes_to_its_place(weights, tmp_path):
    from safetensors.numpy import load_file

    out = to_huggingface(write(tmp_path / "theirs", variables(weights)), tmp_path / "ours")
    found = load_file(out / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, one in weights.items():
        np.testing.assert_array_equal(found[name], one)
    config = json.loads((out / "config.json").read_text())
    same = ("d_model", "encoder_layers", "decoder_ffn_dim", "num_mel_bins", "max_source_positions")
    for name in (*same, "vocab_size", "max_target_positions", "decoder_attention_heads"):
        assert config[name] == GOLDEN["config"][name]
    said = json.loads((out / "generation_config.json").read_text())
    assert said["suppress_tokens"] == [5, 6]
    assert said["no_timestamps_token_id"] == 44
    # A model of English alone: fewer words than the smallest of many languages.
    assert "lang_to_id" not in said
    assert not said["is_multilingual"]


def test_what_is_not_read(weights, tmp_path):
    found = variables(weights)
    folder = write(tmp_path / "theirs", found)
    with pytest.raises(WeightsError, match="to_huggingface"):
        weight_files(folder)
    path = folder / "model.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        to_huggingface(folder, tmp_path / "out")
    linear = "encoder/layer_0/self_attention/linear_0"
    for changed, says in (
        ({f"{linear}/weight": found[f"{linear}/weight"].astype(np.int8)}, "quantised"),
        ({f"{linear}/bias": np.ones_like(found[f"{linear}/bias"])}, "bias of keys"),
        ({"decoder/activation": np.array(0, np.int8)}, "activation"),
    ):
        with pytest.raises(WeightsError, match=says):
            to_huggingface(write(folder, {**found, **changed}), tmp_path / "out")
    with pytest.raises(WeightsError, match="TransformerSpec"):
        to_huggingface(write(folder, found, name="TransformerSpec"), tmp_path / "out")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match="tokenizer"):
        to_huggingface(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
