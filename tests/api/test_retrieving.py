"""What the report of a pretraining run tells of vectors that are known."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_run

from mmjax.api import reporting, retrieving
from mmjax.core.registry import Spec
from mmjax.data.pipeline import prepare
from mmjax.objectives.results import Results
from mmjax.report.contents import ReportContents
from mmjax.report.page import render
from mmjax.train.evaluate import Evaluation


class Matching(SimpleNamespace):
    weight = 0.5

    def baseline(self, dataset, split):
        assert split in dataset.splits
        return {"accuracy": 2 / 3, "tokens": 3.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the report asks of a run, without any training."""
    config = tiny_run.config(tiny_run.write_data(tmp_path_factory.mktemp("data")))
    config = dataclasses.replace(
        config, objectives={"clip": Spec("contrastive"), "itm": Spec("matching")}
    )
    folder = tmp_path_factory.mktemp("run") / "run"
    folder.mkdir()
    (folder / "data_summary.json").write_text("{}")
    return SimpleNamespace(
        config=config,
        folder=SimpleNamespace(path=folder, metrics=folder / "metrics.jsonl"),
        module=SimpleNamespace(
            task=Results(("clip", "itm"), ("text", "image")),
            objectives={"clip": SimpleNamespace(weight=1.0), "itm": Matching()},
        ),
    )


@pytest.fixture(scope="module")
def dataset(run):
    return prepare(run.config.data)


def evaluated(run, rows, *, lacking=(), things=None):
    """Pictures are texts with noise; rows of `lacking` have no picture."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(len(rows), 3))
    image = text + rng.normal(size=text.shape)
    text, image = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (text, image))
    image[list(lacking)] = 0
    predictions = {"text": text, "image": image}
    targets = {} if things is None else {"thing": things}
    task = run.module.task
    sums = {"clip/loss_sum": 6.0, "clip/count": 3.0, "clip/logit_scale_sum": 60.0}
    sums |= {"itm/loss_sum": 1.0, "itm/count": 2.0, "itm/accuracy_sum": 1.5}
    metrics = {"loss": 2.5, **task.compute(sums), **task.evaluate(predictions, targets)}
    return Evaluation(metrics, predictions, targets, np.asarray(rows), {})


def test_objectives_have_their_metrics_and_baselines(run, dataset):
    rows = dataset.rows("train")
    found = retrieving.objectives(run, evaluated(run, rows), dataset, "train")
    assert found["clip"] == pytest.approx(
        {"kind": "contrastive", "weight": 1.0, "loss": 2.0, "temperature": 0.05}
    )
    want = {"kind": "matching", "weight": 0.5, "loss": 0.5, "accuracy": 0.75}
    assert found["itm"] == pytest.approx({**want, "accuracy_of_baseline": 2 / 3})


def test_ways_are_those_of_the_metrics_with_intervals_around_them(run, dataset):
    rows = dataset.rows("train")
    evaluation = evaluated(run, rows, lacking=[3, 4])
    (forth, back), interval = retrieving.ways(run, evaluation)
    assert (forth.name, back.name) == ("text → image", "image → text")
    assert forth.queries == forth.answers == len(rows) - 2
    ours, theirs = (np.delete(evaluation.predictions[n], [3, 4], 0) for n in ("text", "image"))
    ranks = (ours @ theirs.T >= np.sum(ours * theirs, axis=1)[:, None] - 1e-9).sum(axis=1)
    for k in (1, 5, 10):
        low, high = forth.intervals[f"recall@{k}"]
        assert forth.metrics[f"recall@{k}"] == pytest.approx(np.mean(ranks <= k))
        assert low <= np.mean(ranks <= k) <= high
    assert interval is None
    evaluation = evaluated(run, rows)
    low, high = retrieving.ways(run, evaluation)[1]
    assert low <= evaluation.metrics["recall@10"] <= high


def test_queries_are_half_right_at_once_and_show_what_was_found(run, dataset):
    rows = dataset.rows("train")
    evaluation = evaluated(run, rows)
    found = retrieving.queries(run, evaluation, dataset)
    forth = [one for one in found if one.way == "text → image"]
    assert [one.rank == 1 for one in forth] == [True] * 4 + [False] * 4
    at = {int(row): i for i, row in enumerate(rows)}
    texts, cells = dataset.table.column("words"), dataset.table.row
    for one in forth:
        i = at[one.seen.row]
        assert one.seen.text == texts[one.seen.row]
        similarity = evaluation.predictions["text"][i] @ evaluation.predictions["image"].T
        best = np.argsort(-similarity)[:5]
        assert [at[hit.seen.row] for hit in one.found] == best.tolist()
        assert [hit.right for hit in one.found] == [one.seen.row == rows[j] for j in best]
        assert one.found[0].seen.image.shape == (8, 8, 3)
        assert one.found[0].similarity == pytest.approx(similarity.max(), abs=1e-6)
    assert cells(0)


def test_captions_of_one_thing_are_all_right(run, dataset):
    rows = dataset.rows("train")
    things = np.arange(len(rows)) // 2
    evaluation = evaluated(run, rows, things=things)
    thing = dict(zip(rows.tolist(), things.tolist(), strict=True))
    for query in retrieving.queries(run, evaluation, dataset):
        for hit in query.found:
            assert hit.right == (thing[hit.seen.row] == thing[query.seen.row])


def test_the_page_has_all_of_it(run, dataset):
    evaluation = evaluated(run, dataset.rows("test"))
    fields = reporting._of_pretraining(run, evaluation, dataset, "test")
    page = render(ReportContents(**{**reporting._about(run, "test"), **fields}))
    for part in ("Objectives", "Retrieval", "Nearest rows", "test recall@10", "init.run="):
        assert part in page
