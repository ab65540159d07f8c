"""Every subset of the modalities, against evaluations of rows whose cells are empty."""

from __future__ import annotations

import pytest
import tiny_run

from mmjax.api.run import load_run
from mmjax.api.subsets import all_subsets
from mmjax.cli import main
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json


@pytest.fixture(scope="module")
def run(trained):
    with tiny_run.one_device():
        yield load_run(trained)


def test_the_command_measures_each_subset_and_what_a_modality_adds(run, trained, tmp_path, capsys):
    shared = ["--split", "all", "--out", str(tmp_path)]
    assert main(["evaluate", str(trained), "--modalities", "all-subsets", *shared]) == 0
    assert "Shapley" in capsys.readouterr().out
    found = read_json(tmp_path / "modalities.json")
    scores = {tuple(one["modalities"]): one["metrics"]["accuracy"] for one in found["subsets"]}
    assert list(scores) == [(), ("text",), ("image",), ("text", "image")]
    rows = tiny_run.read_rows(trained.parent / "data.csv")
    columns = {"text": "words", "image": "picture"}
    for subset in (("text",), ("image",), ("text", "image")):
        bare = {key: [row[key] for row in rows] for key in tiny_run.COLUMNS}
        for name in set(columns) - set(subset):
            bare[columns[name]] = [None] * len(rows)
        assert scores[subset] == run.evaluate(bare, root=str(trained.parent))["accuracy"]
    of = found["modality"]["accuracy"]
    whole, image, text, none = (scores[one] for one in reversed(scores))
    assert of["text"]["shapley"] == pytest.approx((text - none + whole - image) / 2)
    assert of["image"]["lost"] == pytest.approx(whole - text)
    assert of["image"]["alone"] == image
    total = sum(one["shapley"] for one in of.values())
    assert total == pytest.approx(whole - none)
    page = (tmp_path / "report.html").read_text()
    assert "Lost without it" in page
    assert {one.name for one in tmp_path.glob("*.png")} == {"accuracy.png", "macro_f1.png"}
    # Equal models have one program: that of the command is the one that was used here.
    assert run._function._cache_size() == 1


def test_a_run_of_one_modality_has_no_subsets(run, monkeypatch):
    monkeypatch.setattr("mmjax.api.subsets.MOST", 1)
    with pytest.raises(ConfigError, match="2 modalities"):
        all_subsets(run)
