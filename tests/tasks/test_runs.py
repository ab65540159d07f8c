"""Tasks from a table to a report, with two modalities, either of which some rows lack."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_absolute_error

import mmjax
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

ROWS = 40
WORDS = ("red", "green", "blue", "old", "new")


pytestmark = pytest.mark.usefixtures("fast")


def _table():
    rng = np.random.default_rng(0)
    chosen = [sorted(rng.choice(WORDS, rng.integers(1, 4), replace=False)) for _ in range(ROWS)]
    weights = rng.normal(size=ROWS).round(3).tolist()
    columns = {
        "words": [" ".join(one) for one in chosen],
        "weight": weights,
        "is_red": ["yes" if "red" in one else "no" for one in chosen],
        "tags": [";".join(one) for one in chosen],
        "grade": [("low", "middle", "high")[min(len(one), 3) - 1] for one in chosen],
        "price": [100.0 + 10 * len(one) for one in chosen],
        "size": [None if i % 10 == 7 else 3.0 * w for i, w in enumerate(weights)],
    }
    for row in range(0, ROWS, 8):
        columns["words"][row] = None
        columns["weight"][row + 1] = None
    return columns


def _train(folder, target, task, fusion=None):
    config = Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities={
                "text": Spec("text", column="words", tokenizer="subwords", buckets=16),
                "table": Spec("table", numbers=("weight",)),
            },
            targets={"label": target},
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                "text": Spec("bag_of_subwords", width=8),
                "table": Spec("table", width=8, depth=0),
            },
            fusion=fusion or Spec("concat", width=8),
        ),
        task=task,
        optimizer=OptimizerConfig(learning_rate=3e-2),
        train=TrainConfig(duration="3 steps", best_metric="loss", log_every="1 steps"),
    )
    frame = _table()
    mmjax.train(config, folder / "run", frame=frame)
    assert (folder / "run" / "report.html").is_file()
    return mmjax.load_run(folder / "run"), frame


def _both_ways(run, frame):
    """Predictions of all rows; the one of row 3 alone is the same."""
    found = run.predict(frame)
    alone = run.predict_one(text=frame["words"][3], weight=frame["weight"][3])
    assert json.loads(json.dumps(alone)).keys() == found[3].keys() - {"row", "id"}
    assert [one["row"] for one in found] == list(range(ROWS))
    return found, alone


def test_two_classes(tmp_path):
    task = Spec("classification", loss="focal", class_weights="effective", hidden=8)
    run, frame = _train(tmp_path, Spec("category", column="is_red"), task)
    found, alone = _both_ways(run, frame)
    metrics = run.evaluate(frame)
    said = [one["label"] for one in found]
    assert metrics["f1"] == pytest.approx(f1_score(frame["is_red"], said, pos_label="yes"))
    assert {"auroc", "ap", "precision", "recall", "specificity"} <= metrics.keys()
    assert alone["probabilities"] == pytest.approx(found[3]["probabilities"], abs=1e-6)


def test_labels_with_thresholds_from_the_validation_rows(tmp_path):
    target = Spec("labels", column="tags", separator=";")
    decision = Spec("decision", method=Spec("average"))
    run, frame = _train(tmp_path, target, Spec("multi_label", pos_weight="balanced"), decision)
    found, alone = _both_ways(run, frame)
    names = run.facts["targets"]["label"]["label_names"]
    cuts = json.loads((tmp_path / "run" / "tuned.json").read_text())["label"]["thresholds"]
    assert run.module.task.thresholds == tuple(cuts) != (0.5,) * 5
    said = [[name in one["labels"] for name in names] for one in found]
    for one in found:
        shares = one["probabilities"]
        assert one["labels"] == [n for n in shares if shares[n] >= cuts[names.index(n)]]
    truth = [[name in cell.split(";") for name in names] for cell in frame["tags"]]
    metrics = run.evaluate(frame)
    assert metrics["micro_f1"] == pytest.approx(f1_score(truth, said, average="micro"))
    assert {"text_micro_f1", "table_micro_f1"} <= metrics.keys()
    assert alone["probabilities"] == pytest.approx(found[3]["probabilities"], abs=1e-6)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Threshold" in page
    assert "Most labels wrong" in page
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    own = run.evaluate(frame, split="all")
    assert stored["threshold/red"] == own["threshold/red"] == cuts[names.index("red")]


def test_ranks(tmp_path):
    target = Spec("category", column="grade", names=("low", "middle", "high"))
    run, frame = _train(tmp_path, target, Spec("ordinal", method="cumulative_link"))
    found, alone = _both_ways(run, frame)
    truth = [("low", "middle", "high").index(grade) for grade in frame["grade"]]
    said = [one["rank"] for one in found]
    assert run.evaluate(frame)["mae"] == pytest.approx(mean_absolute_error(truth, said))
    assert found[0]["label"] == ("low", "middle", "high")[said[0]]
    assert alone["probabilities"] == pytest.approx(found[3]["probabilities"], abs=1e-6)
    assert "always the median" in (tmp_path / "run" / "report.html").read_text()


def test_numbers_and_their_quantiles(tmp_path):
    target = Spec("number", column="price", also=("size",), missing="mask")
    task = Spec("regression", loss="quantile", quantiles=(0.25, 0.5, 0.75))
    decision = Spec("decision", method=Spec("weighted", weights="solved"))
    run, frame = _train(tmp_path, target, task, decision)
    found, alone = _both_ways(run, frame)
    metrics = run.evaluate(frame)
    for name in ("price", "size"):
        known = [i for i, truth in enumerate(frame[name]) if truth is not None]
        truth, said = (
            [frame[name][i] for i in known],
            [found[i]["values"][name] for i in known],
        )
        assert metrics[f"mae/{name}"] == pytest.approx(mean_absolute_error(truth, said), rel=1e-5)
    levels = list(found[0]["quantiles"]["price"].values())
    assert levels == sorted(levels)
    assert levels[1] == found[0]["values"]["price"]
    assert 90 < levels[1] < 140
    assert alone["values"] == pytest.approx(found[3]["values"], rel=1e-5)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Furthest off" in page
    assert "always the training mean" in page
