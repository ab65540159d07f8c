"""easy-VQA from files such as its package has."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.data.config import sources

QUESTIONS = [
    ("is there a circle?", "yes"),
    ("what color is the shape?", "red"),
    ("what is it?", "circle"),
]


@pytest.fixture
def folder(tmp_path):
    for split, pictures in (("train", 10), ("test", 4)):
        (tmp_path / split / "images").mkdir(parents=True)
        for i in range(pictures):
            pixels = np.full((4, 4, 3), i, np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / split / "images" / f"{i}.png")
        rows = [[q, a, i] for i in range(pictures) for q, a in QUESTIONS]
        (tmp_path / split / "questions.json").write_text(json.dumps(rows))
    return tmp_path


def test_questions_of_a_picture_stay_together(folder):
    table = sources.build("easy_vqa", folder=str(folder), validation_fraction=0.2).read()
    assert len(table) == 42
    assert table.root == folder
    row = table.row(1)
    assert row["question"] == "what color is the shape?"
    assert (row["answer"], row["type"], row["image"]) == ("red", "colour", "train/images/0.png")
    assert [table.row(i)["type"] for i in (0, 2)] == ["yes/no", "shape"]
    splits = np.array(table.column("split"))
    pictures = np.array(table.column("picture"))
    assert (splits == "validation").sum() == 6
    assert (splits[30:] == "test").all()
    held = set(pictures[splits == "validation"])
    assert len(held) == 2
    assert not held & set(pictures[splits == "train"])
    again = sources.build("easy_vqa", folder=str(folder), validation_fraction=0.2, seed=1).read()
    assert again.fingerprint != table.fingerprint
    assert list(again.column("split")) != list(splits)


def test_what_is_refused(folder, monkeypatch):
    with pytest.raises(ConfigError, match="MMX-106"):
        sources.build("easy_vqa", validation_fraction=1.0)
    (folder / "test" / "questions.json").write_text('[["what?", "red"]]')
    with pytest.raises(DataError, match="MMX-215"):
        sources.build("easy_vqa", folder=str(folder)).read()

    def nowhere(source):
        return locate(source.replace("easy_vqa", "no_such_vqa"))

    monkeypatch.setattr("mmjax.data.sources.easy_vqa.locate", nowhere)
    with pytest.raises(MissingExtra, match="pip install --no-deps easy-vqa"):
        sources.build("easy_vqa").read()
