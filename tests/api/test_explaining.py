"""`mmjax explain` on a run of words and columns: what it writes, and that its numbers are true."""

from __future__ import annotations

import itertools
import json
import math

import made_runs
import numpy as np
import pytest
import tiny_run

from mmjax.api import explaining
from mmjax.cli import main
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json
from mmjax.core.registry import Spec

ROWS = 4
HOSTILE = "<script>alert('x')</script> & fin"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explaining")
    fusion = Spec("weighted_sum", width=8, weights="fixed", values={"text": 1.5, "table": 0.5})
    with tiny_run.one_device():
        yield made_runs.made(made_runs.config(folder, text=True, fusion=fusion), folder / "run")


def explained(run, *methods, **options):
    return run.explain(split="all", rows=ROWS, check=False, methods=methods, **options)


def test_the_command_writes_numbers_pictures_and_a_page(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mmjax.api.run.load_run", lambda folder: run)
    rows = tiny_run.rows_of(2)
    rows[0]["words"] = HOSTILE
    columns = tuple(name for name in tiny_run.COLUMNS if name != "picture")
    data = tiny_run.write_rows(tmp_path / "hostile.csv", rows, columns)
    methods = [
        "shapley",
        "gradients",
        "occlusion:concepts={'water': ('fin', 'water')}",
        "neighbours",
    ]
    out = tmp_path / "out"
    named = [one for method in methods for one in ("--method", method)]
    assert (
        main(["explain", str(run.folder.path), "--data", str(data), *named, "--out", str(out)]) == 0
    )
    told = capsys.readouterr().out
    assert "how true they are" in told
    lines = [json.loads(line) for line in (out / "explanations.jsonl").read_text().splitlines()]
    assert [(one["id"], one["method"]) for one in lines] == [
        (row["id"], method.partition(":")[0]) for row in rows for method in methods
    ]
    first = lines[2]
    assert first["method"] == "occlusion"
    assert [name for name, _ in first["parts"]["text"]["names"]] == HOSTILE.split()
    assert "water" in first["facts"]["concepts"]
    names = [name for name, _ in first["parts"]["table"]["names"]]
    assert names[0].startswith("weight = ")
    assert (out / first["picture"]).read_bytes().startswith(b"\x89PNG")
    assert len(lines[3]["facts"]["neighbours"]) == 5
    page = (out / "index.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    summary = read_json(out / "summary.json")
    assert summary["rows"] == 2
    assert {"deletion", "deletion_random", "insertion", "insertion_random"} <= set(
        summary["methods"]["occlusion"]["checks"]
    )
    assert "randomised" in summary["methods"]["gradients"]["checks"]
    gained = [one["modalities"] for one in lines if one["method"] == "shapley"]
    mean = np.mean([abs(one["text"]) for one in gained])
    assert summary["methods"]["shapley"]["modalities"]["text"] == pytest.approx(mean, rel=1e-4)


def test_shapley_values_are_those_of_all_orders_of_real_absences(run):
    """By brute force over orders, each subset from rows whose cells are empty."""
    found = explained(run, "shapley").of("shapley")
    rows = tiny_run.read_rows(run.folder.path.parent / "data.csv")[:ROWS]
    columns = {"text": ["words"], "table": ["weight", "place"]}
    names = tuple(columns)

    def log_odds(subset):
        bare = {key: [row[key] for row in rows] for key in rows[0]}
        for name in set(names) - set(subset):
            bare |= {column: [None] * ROWS for column in columns[name]}
        said = run.predict(bare)
        chances = np.array([list(one["probabilities"].values()) for one in said])
        return np.log(chances) - np.log(chances @ (1 - np.eye(chances.shape[1])))

    labels = run.module.task.label_names
    worth = {s: log_odds(s) for k in (1, 2) for s in itertools.combinations(names, k)}
    for row, one in enumerate(found):
        place = labels.index(one.explained.removeprefix("log-odds of "))
        nothing = one.facts["subsets"]["none"]

        def value(subset, row=row, place=place, nothing=nothing):
            kept = tuple(name for name in names if name in subset)
            return worth[kept][row, place] if kept else nothing

        for name in names:
            gains = [
                value({*order[: order.index(name)], name}) - value(set(order[: order.index(name)]))
                for order in itertools.permutations(names)
            ]
            mean = sum(gains) / math.factorial(len(names))
            assert one.modalities[name] == pytest.approx(mean, abs=1e-4)
        assert sum(one.modalities.values()) == pytest.approx(one.score - nothing, abs=1e-4)


def test_a_class_is_explained_whatever_is_predicted(run):
    found = explained(run, "gradients", of="stone").of("gradients")
    assert {one.explained for one in found} == {"log-odds of stone"}
    with pytest.raises(ConfigError, match="nothing called 'stoen'"):
        explained(run, "gradients", of="stoen")


@pytest.mark.slow
def test_weights_swaps_and_permutations_say_what_they_should(run):
    whole = run.explain(
        split="all",
        rows=12,
        check=False,
        methods=["weights", Spec("swaps", donors=3), "permutation"],
    )
    for one in whole.of("weights"):
        assert one.modalities["text"] == pytest.approx(3 * one.modalities["table"])
    swapped = whole.of("swaps")[0].facts["swaps"]["text"]
    assert swapped["says"] in run.module.task.label_names
    assert 0 <= swapped["changed"] <= 1
    lost = whole.results.over["permutation"]["facts"]["lost"]
    assert set(lost) == {"text", "table", "weight", "place"}
    assert set(lost["text"]) == {"score", "accuracy"}
    before = whole.results.over["permutation"]["facts"]["before"]
    mean = np.mean([one.score for one in whole.of("weights")])
    assert before["score"] == pytest.approx(mean, rel=1e-4)


def test_the_rows_of_the_highest_loss_come_first(run):
    told = run.predict()
    truth = {
        row["id"]: row["kind"] for row in tiny_run.read_rows(run.folder.path.parent / "data.csv")
    }
    chances = {one["id"]: one["probabilities"][truth[one["id"]]] for one in told}
    found = run.explain(split="all", rows=3, worst=True, check=False, methods=["weights"])
    ids = [one.id for one in found]
    assert ids == sorted(chances, key=lambda one: chances[one])[:3]


def test_a_single_example_is_explained(run):
    found = run.explain(
        run.columns_of({"text": "wing and feather", "weight": 0.5}),
        methods=["gradients"],
        check=False,
    )
    (one,) = found
    assert [name for name, _ in one.parts["text"].named()] == ["wing", "and", "feather"]
    total = sum(value for _, value in one.parts["text"].named())
    assert one.modalities["text"] == pytest.approx(total)


def test_what_a_model_has_nothing_for_is_refused_by_name_and_else_left_out(run):
    with pytest.raises(ConfigError, match="no convolutional encoder"):
        explained(run, "grad_cam")
    with pytest.raises(ConfigError, match="shapley"):
        explained(run, "shaply")
    assert explaining.parse("occlusion:cells=4") == Spec("occlusion", cells=4)
    with pytest.raises(ConfigError, match="setting=value"):
        explaining.parse("occlusion:cells")
