"""Hub ids: what is asked for, and what is told when the hub cannot be reached."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path

import goldens
import huggingface_hub
import pytest
from flax import serialization, traverse_util

from mmjax.core.errors import WeightsError
from mmjax.pretrained.load import load


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one model, and the lists of files that it was asked for."""
    remote, cache, asked = tmp_path / "remote", tmp_path / "cache", []
    goldens.write_folder(goldens.load("bert"), remote)
    (remote / "pytorch_model.bin").write_bytes(b"\x80\x04 a pickle")

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        assert name == "somebody/tiny-bert"
        wanted = [
            path
            for path in remote.iterdir()
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns)
        ]
        asked.append(sorted(path.name for path in wanted))
        cache.mkdir(exist_ok=True)
        for path in wanted:
            shutil.copyfile(path, cache / path.name)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return remote, asked


def test_safetensors_are_asked_for_first(hub):
    _, asked = hub
    assert load("somebody/tiny-bert").report.format == "safetensors"
    assert asked == [["config.json", "model.safetensors"]]


def test_flax_weights_where_there_are_no_safetensors(hub):
    remote, asked = hub
    (remote / "model.safetensors").unlink()
    flat = {}
    for name, array in goldens.load("bert").weights().items():
        above, last = name.rsplit(".", 1)
        kind = (
            "embedding" if "_embeddings" in name else "scale" if "LayerNorm" in name else "kernel"
        )
        ours = f"{above}.{kind if last == 'weight' else last}".replace(".", "/")
        flat[ours] = array.T if ours.endswith("kernel") else array
    tree = traverse_util.unflatten_dict(flat, sep="/")
    (remote / "flax_model.msgpack").write_bytes(serialization.to_bytes(tree))
    assert load("somebody/tiny-bert").report.format == "msgpack"
    assert asked == [["config.json"], ["config.json", "flax_model.msgpack"]]


def test_the_hub_is_out_of_reach(monkeypatch):
    def unreachable(name: str, allow_patterns: list[str]) -> str:
        raise huggingface_hub.utils.LocalEntryNotFoundError("no network and no cache\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(WeightsError, match="no network and no cache") as caught:
        load("somebody/tiny-bert")
    assert "give the path of a folder" in caught.value.fix


def test_a_path_is_no_hub_id(tmp_path, hub):
    _, asked = hub
    with pytest.raises(WeightsError, match="there is no folder"):
        load(Path(tmp_path) / "nowhere")
    assert asked == []
