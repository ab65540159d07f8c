"""Every subset of the modalities, against evaluations of rows whose cells are empty."""

from __future__ import annotations

import made_runs
import pytest
import tiny_run

from mmjax.api.subsets import all_subsets
from mmjax.cli import main
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subsets")
    fusion = Spec("weighted_sum", width=8, weights="fixed", values={"text": 1.5, "table": 0.5})
    with tiny_run.one_device():
        yield made_runs.made(made_runs.config(folder, text=True, fusion=fusion), folder / "run")


def test_the_command_measures_each_subset_and_what_a_modality_adds(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("mmjax.api.run.load_run", lambda folder, step: run)
    shared = ["--split", "all", "--out", str(tmp_path)]
    command = ["evaluate", str(run.folder.path), "--modalities", "all-subsets"]
    assert main([*command, *shared]) == 0
    assert "Shapley" in capsys.readouterr().out
    found = read_json(tmp_path / "modalities.json")
    scores = {tuple(one["modalities"]): one["metrics"]["accuracy"] for one in found["subsets"]}
    assert list(scores) == [(), ("text",), ("table",), ("text", "table")]
    rows = tiny_run.read_rows(run.folder.path.parent / "data.csv")
    columns = {"text": ["words"], "table": ["weight", "place"]}
    for subset in (("text",), ("table",), ("text", "table")):
        bare = {key: [row[key] for row in rows] for key in rows[0]}
        for name in set(columns) - set(subset):
            bare |= {column: [None] * len(rows) for column in columns[name]}
        assert scores[subset] == run.evaluate(bare)["accuracy"]
    of = found["modality"]["accuracy"]
    whole, table, text, none = (scores[one] for one in reversed(scores))
    assert of["text"]["shapley"] == pytest.approx((text - none + whole - table) / 2)
    assert of["table"]["lost"] == pytest.approx(whole - text)
    assert of["table"]["alone"] == table
    total = sum(one["shapley"] for one in of.values())
    assert total == pytest.approx(whole - none)
    page = (tmp_path / "report.html").read_text()
    assert "Lost without it" in page
    assert {one.name for one in tmp_path.glob("*.png")} == {"accuracy.png", "macro_f1.png"}
    # All of these are one program.
    assert run._function._cache_size() == 1


def test_a_run_of_one_modality_has_no_subsets(run, monkeypatch):
    monkeypatch.setattr("mmjax.api.subsets.MOST", 1)
    with pytest.raises(ConfigError, match="2 modalities"):
        all_subsets(run)
