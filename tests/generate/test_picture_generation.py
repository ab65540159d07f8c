"""Token for token what transformers' VisionEncoderDecoder generates of pictures."""

import json

import generation
import numpy as np
import picture_generation as pictures
import pytest

import mmjax
from mmjax.api.generating import generate

GOLDEN = json.loads(pictures.FILE.read_text())
QUICK = ("trocr", "greedy_penalties")


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, marks=() if (name, case) == QUICK else pytest.mark.slow)
        for name in pictures.SIDES
        for case in pictures.CASES
    ],
)
def test_texts_of_pictures_are_those_of_transformers(name, case, tmp_path):
    golden = GOLDEN[name]
    generation.write_folder(golden["config"], golden["shapes"], tmp_path)
    wanted = golden["cases"][case]
    (tmp_path / "generation_config.json").write_text(json.dumps(wanted["settings"]))
    fields = {"pixel_values": np.moveaxis(pictures.pictures(), 1, 3)}
    found = generate(mmjax.load_pretrained(tmp_path), fields)
    assert [one for row in found.lists() for one in row] == wanted["tokens"]
