"""Files of one tagged word a line."""

from __future__ import annotations

import unicodedata

import pytest

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data import config as data_config
from mmjax.data.sources.conll import Conll, chunks
from mmjax.data.spans import read_spans

TWEETS = (
    "IMGID:123\nAda\tB-PER\nLove\tI-PER\nin\tO\nRome\tB-LOC\n\t\n"
    "IMGID:7\n#\tO\nnothing\tO\n\n\n-DOCSTART- -X- O O\n\nRoma\u0300\tI-LOC\n"
)


def _write(folder, text, name="train.txt"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def _named(row):
    return [(row["text"][s["start"] : s["end"]], s["label"]) for s in row["spans"]]


def test_sentences_with_and_without_pictures(tmp_path):
    table = data_config.sources.build("conll", path=_write(tmp_path, TWEETS)).read()
    assert set(table.columns) == {"text", "spans", "picture"}
    rows = [table.row(i) for i in range(len(table))]
    assert [row["text"] for row in rows] == ["Ada Love in Rome", "# nothing", "Rom\u00e0"]
    assert _named(rows[0]) == [("Ada Love", "PER"), ("Rome", "LOC")]
    assert [row["picture"] for row in rows] == ["123.jpg", "7.jpg", None]
    assert _named(rows[2]) == [(unicodedata.normalize("NFC", "Roma\u0300"), "LOC")]
    assert table.root == tmp_path
    assert table.where(2, "spans").endswith("train.txt:14:spans")
    for row in rows:
        assert len(read_spans(row["spans"], "", text=row["text"])) == len(row["spans"])


def test_files_by_split_and_columns_by_setting(tmp_path):
    first = _write(tmp_path, "1 Ada NNP B-PER\n2 runs VBZ O\n")
    second = _write(tmp_path, "# text = a comment\n1 Bob NNP S-PER\n", "test.txt")
    options = {"path": {"train": first, "test": second}, "word": 1, "comment": "# "}
    table = data_config.sources.build("conll", **options).read()
    assert table.columns["split"] == ["train", "test"]
    assert _named(table.row(1)) == [("Bob", "PER")]
    assert table.where(1) == f"{second}:2"
    words = data_config.sources.build("conll", **options, tag=2, scheme="words").read()
    assert _named(words.row(0)) == [("Ada", "NNP"), ("runs", "VBZ")]
    assert words.fingerprint == table.fingerprint
    spec = Spec("conll", **options)
    settings = data_config.DataConfig(source=spec)
    again = config_lib.from_json(data_config.DataConfig, config_lib.to_json(settings))
    assert data_config.sources.build(again.source).read().columns == table.columns


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-x I-x O I-x", [("x", 0, 1), ("x", 3, 3)]),
        ("I-x I-x B-x I-y", [("x", 0, 1), ("x", 2, 2), ("y", 3, 3)]),
        ("S-x B-x I-x E-x E-x", [("x", 0, 0), ("x", 1, 3), ("x", 4, 4)]),
        ("U-x B-x L-x O", [("x", 0, 0), ("x", 1, 2)]),
        ("B-a-b I-a-b", [("a-b", 0, 1)]),
    ],
)
def test_tags_of_every_scheme(tags, found):
    assert chunks(tags.split()) == found


def test_damaged_lines_make_bad_rows(tmp_path):
    table = Conll(_write(tmp_path, "Ada B-PER\n\nalone\n\nBob Q-PER\n\nEve O\n")).read()
    assert list(table.columns["text"]) == ["Ada", "Eve"]
    assert [(bad.line, bad.code) for bad in table.bad] == [(3, 203), (5, 531)]
    with pytest.raises(DataError, match=r"'alone' has 1 fields.*train\.txt:3"):
        table.require_good()
    with pytest.raises(DataError, match="is no tag of BIO"):
        Conll(_write(tmp_path, "Ada E-PER\n"), scheme="BIO").read()
    with pytest.raises(DataError, match="no sentence"):
        Conll(_write(tmp_path, "\n\nIMGID:1\n\n")).read()
    with pytest.raises(ConfigError, match="picture = "):
        Conll(_write(tmp_path, TWEETS), picture="jpg").read()
