"""Pixels without transformers, beside what its processors made (tests/golden)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mmjax.data import image_processors
from mmjax.data.pixels import CONFIG, Pixels, covers

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "image_processors.npz")
NAMES = sorted({name.partition("/")[0] for name in GOLDEN.files})
SIZES = ((37, 23), (9, 30), (16, 16), (400, 10))


def _config(name: str) -> dict:
    return json.loads(str(GOLDEN[f"{name}/config"]))


def _picture(width: int, height: int) -> PIL.Image.Image:
    y, x = np.mgrid[:height, :width]
    waves = [(x * a + y * b) % 256 for a, b in ((7, 3), (2, 11), (5, 5))]
    return PIL.Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_those_of_transformers(name):
    assert covers(_config(name))
    made = Pixels(_config(name))
    for index in range(len([one for one in GOLDEN.files if one.startswith(f"{name}/")]) - 1):
        wanted = GOLDEN[f"{name}/{index}"]
        found = made(images=[_picture(*SIZES[index])])["pixel_values"][0]
        found = found[:, ::8, ::8] if len(found[0]) > 64 else found
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)


def test_a_saved_processor_is_loaded_without_transformers(tmp_path, monkeypatch):
    (tmp_path / CONFIG).write_text(json.dumps(_config("clip")))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    loaded = image_processors.HuggingFace.load(str(tmp_path))
    assert loaded.size == 12
    picture = _picture(37, 23)
    np.testing.assert_array_equal(loaded(picture).transpose(2, 0, 1), GOLDEN["clip/0"])
    loaded.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / CONFIG).read_text()) == _config("clip")
    assert Pixels.of(tmp_path / "again") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"image_processor_type": "OwlViTImageProcessor"},
        {"image_processor_type": None},
        {"rescale_factor": None},
        {"do_rescale": False},
        {"size": 224},
        {"size": {"longest_edge": 224}},
        {"crop_size": 224},
    ],
)
def test_what_is_not_known_is_left_to_transformers(change, tmp_path):
    config = {**_config("clip"), **change}
    assert not covers(config)
    (tmp_path / CONFIG).write_text(json.dumps(config))
    assert Pixels.of(tmp_path) is None
