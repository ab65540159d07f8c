"""`mmjax report` and what it shows of a run, of several, and of the data."""

import json
import shutil
import sys
import types

import numpy as np
import pandas as pd
import pytest
import tiny_run
from sklearn.decomposition import PCA

from mmjax.api import data_looks, embedding_maps, slicing
from mmjax.api.reports import report
from mmjax.api.run import Run
from mmjax.api.subgroups import subgroups_into
from mmjax.cli import main
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.data.pipeline import prepare


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tiny_run.trained(tmp_path_factory)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    with tiny_run.one_device():
        yield


def test_runs_beside_each_other(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "twin")
    folder = tmp_path / "twin" / "explanations"
    folder.mkdir()
    run = Run(trained)
    row = int(run.evaluation(split="test").rows[0])
    line = {"row": row, "method": "swaps", "explained": "bird", "modalities": {"text": 0.5}}
    (folder / "explanations.jsonl").write_text(json.dumps(line) + "\n")
    runs = [str(tmp_path / "twin"), str(trained)]
    out = tmp_path / "page"
    options = ["--out", str(out), "--resamples", "10", "--split", "all"]
    assert main(["report", *runs, *options]) == 0
    assert "report.html" in capsys.readouterr().out
    text = (out / "report.html").read_text(encoding="utf-8")
    for name in ("paired", "slices", "map", "modalities", "data", "costs", "precision-recall"):
        assert f'<section id="{name}"' in text, name
    assert "1.0000" in text  # twins do not differ
    assert "No row of another split" in text
    assert "of bird: text +0.50" in text
    assert "peak memory of the process" in text
    with pytest.raises(ConfigError, match="MMX-105"):
        report(*runs)
    with pytest.raises(ConfigError, match="MMX-106"):
        report()


def test_groups_of_rows_beside_each_other(trained, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    assert main(["evaluate", str(copy), "--by", "place", "--split", "all"]) == 0
    assert "Gap in accuracy by place" in capsys.readouterr().out
    folder = copy / "subgroups" / "own-all"
    found = json.loads((folder / "subgroups.json").read_text())["columns"]["place"]
    run = Run(copy)
    evaluation, table = run.evaluation(split="all"), run.dataset().table
    chances = evaluation.predictions["probabilities"]
    right = chances.argmax(1) == evaluation.targets[run.module.task.target]
    frame = pd.DataFrame({"place": [table.columns["place"][row] for row in evaluation.rows]})
    frame["right"], frame["over"] = right, chances.max(1) - right
    means = frame.groupby("place").mean()
    for name, column in (("accuracy", "right"), ("overconfidence", "over")):
        said = {one["name"]: one["mean"] for one in found[name]["groups"]}
        assert said == pytest.approx({str(k): v for k, v in means[column].items()}, abs=1e-6)
    assert '<section id="subgroups"' in (folder / "report.html").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no column 'places'.*'place'"):
        subgroups_into(run, ["places"])
    with pytest.raises(ConfigError, match="tells no groups apart"):
        subgroups_into(run, ["words"])


def test_projection_is_principal_components():
    vectors = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 0.5, 0.1]
    points, told = embedding_maps.project(vectors)
    theirs = PCA(2)
    expected = theirs.fit_transform(vectors)
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    assert f"{theirs.explained_variance_ratio_.sum():.0%}" in told


def test_umap_refuses_what_has_no_neighbours(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", types.ModuleType("umap"))
    with pytest.raises(ConfigError, match=r"UMAP of 3 rows.*pca"):
        embedding_maps.project(np.eye(3), "umap")


def data_of(frame, **options):
    config = DataConfig(
        source=Spec("frame"),
        modalities={
            "text": Spec("text", column="words", tokenizer="subwords", buckets=16, max_length=8),
            "table": Spec("table", numbers=("n",)),
        },
        targets={"label": Spec("category", column="kind")},
        **options,
    )
    return prepare(config, frame=frame)


def test_presence_and_leaks_of_data():
    count = 20
    frame = pd.DataFrame(
        {
            "words": [f"word{i} more" for i in range(count)],
            "n": [float(i) if i % 4 else None for i in range(count)],
            "kind": ["a", "b"] * (count // 2),
        }
    )
    dataset = data_of(frame)
    train, test = dataset.splits["train"], dataset.splits["test"]
    found = data_looks.presence(dataset)
    assert found["text"]["train"] == (len(train), len(train))
    assert found["table"]["train"] == (int((train % 4 > 0).sum()), len(train))
    assert data_looks.leaked(dataset) == []
    frame.loc[test[0], ["words", "n"]] = frame.loc[train[1], ["words", "n"]].to_numpy()
    (line,) = data_looks.leaked(data_of(frame))
    assert line.startswith(f"1 test rows ({1 / len(test):.1%}) have the same inputs")
    assert f":{test[0]}" in line
    assert f":{train[1]}" in line


def test_thirds_say_what_is_in_them():
    found = slicing._thirds([1, 2, None, 3, 4, 5, 6])
    assert found == ["1 to 2", "1 to 2", None, "3 to 4", "3 to 4", "5 to 6", "5 to 6"]
    assert slicing._thirds([2.0, None]) == [None, None]
