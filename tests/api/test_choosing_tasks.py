"""Which task `fit` chooses for a label, and how it is told otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api.fitting import propose
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data import schema
from mmjax.data.manifest import read

ROWS = 60
SMALL = (
    "train.duration=2 steps",
    "data.batch_size=8",
    "model.fusion.width=8",
    "model.encoders.text.width=8",
    "model.encoders.table.width=8",
    "model.encoders.table.depth=0",
)


def _frame():
    rng = np.random.default_rng(0)
    number = rng.normal(size=ROWS).round(3).tolist()
    return {
        "words": [f"{'red' if i % 2 else 'green'} apples and pears {i}" for i in range(ROWS)],
        "weight": number,
        "sour": ["yes", "no"] * (ROWS // 2),
        "kind": ["pome", "stone", "berry"] * (ROWS // 3),
        "stars": [1, 2, 3, 10] * (ROWS // 4),
        "price": [3 * n + 0.5 for n in number],
        "tags": [("sweet; red", "red", "old; sweet; red", "old")[i % 4] for i in range(ROWS)],
    }


@pytest.mark.parametrize(
    ("label", "task", "metric", "said"),
    [
        ("kind", "classification", "accuracy", "classification of kind"),
        ("sour", "classification", "accuracy", "two classes; 'yes' is what"),
        ("price", "regression", "mae", "regression of price"),
        ("tags", "multi_label", "map", "thresholds from the validation rows"),
    ],
)
def test_the_label_says_which_task(label, task, metric, said):
    table = read(_frame())
    chosen = schema.infer(table, label)
    config, reasons = propose(table, chosen, Spec("frame"))
    assert config_lib.check(config).task.name == task
    assert config.train.best_metric == metric
    assert any(said in line for line in reasons)
    assert "label" in config.data.targets


def test_one_class_in_training_makes_the_others_anomalies(tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    frame = _frame()
    splits = ["train", "train", "train", "test"] * 14 + ["validation"] * 4
    odd = [split == "test" and i % 8 == 3 for i, split in enumerate(splits)]
    frame["state"] = ["broken" if one else "good" for one in odd]
    frame["weight"] = [9.0 if one else w for one, w in zip(odd, frame["weight"], strict=True)]
    kept = {name: frame[name] for name in ("weight", "sour", "state")} | {"split": splits}
    with tiny_run.one_device():
        run = mmjax.fit(kept, "state", tmp_path / "run", settings=SMALL[:3] + SMALL[4:])
    assert run.config.task.name == "anomaly"
    assert run.config.data.targets["label"].options["names"] == ("good", "broken")
    assert run.metrics["test"]["auroc"] > 0.9
    both = {**kept, "words": frame["words"]}
    table = read(both)
    config, reasons = propose(table, schema.infer(table, "state"), Spec("frame"))
    assert config_lib.check(config).model.fusion.name == "side_by_side"
    assert any("'good' is all that training rows are by state" in one for one in reasons)
    whole = read({**frame, "state": ["good", "good", "broken"] * (ROWS // 3)})
    config, reasons = propose(whole, schema.infer(whole, "state"), Spec("frame"))
    assert config.task.name == "classification"
    config, _ = propose(whole, schema.infer(whole, "state"), Spec("frame"), "anomaly")
    assert config.task.options["normal"] == "good"


def test_a_task_that_is_named_is_taken(tmp_path):
    told = []
    run = mmjax.fit(
        _frame(),
        "stars",
        tmp_path / "run",
        task="ordinal",
        settings=SMALL,
        kinds=dict.fromkeys(("sour", "kind", "price", "tags"), "ignored"),
        tell=told.append,
    )
    assert run.config.task.name == "ordinal"
    assert run.facts["targets"]["label"]["label_names"] == ("1", "2", "3", "10")
    assert any("ranks in the order of their numbers" in line for line in told)
    assert {"mae", "quadratic_kappa"} <= run.metrics["test"].keys()


@pytest.mark.parametrize(
    ("task", "said"),
    [("regresion", "'regresion' is no task.*did you mean 'regression'"), ("", "valid: anomaly")],
)
def test_other_tasks_are_refused_with_the_nearest(tmp_path, task, said):
    with pytest.raises(ConfigError, match=said):
        mmjax.fit(_frame(), "kind", tmp_path / "run", task=task, tell=lambda _: None)


def test_the_command_refuses_it_too(tmp_path, capsys):
    (tmp_path / "data.csv").write_text("words,kind\na b c,x\nd e f,y\n")
    given = ["fit", str(tmp_path / "data.csv"), "--label", "kind", "--workdir", str(tmp_path / "r")]
    assert main([*given, "--task", "ordnal"]) == 2
    assert "did you mean 'ordinal'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
