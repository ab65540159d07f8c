"""`mmjax runs` and `mmjax watch`, of folders that look like runs."""

import json

import numpy as np
import pytest
import tiny_run

from mmjax.api.runs import runs
from mmjax.api.watching import Followed
from mmjax.checkpoint.lock import Lock
from mmjax.cli import main
from mmjax.core import config as config_lib
from mmjax.core.errors import CheckpointError, ConfigError, DataError
from mmjax.core.files import write_json
from mmjax.writers.plots import plot


def make(folder, *changes, metrics=None, finished=True, records=()):
    whole = tiny_run.config(folder / "data.csv", *changes)
    write_json(folder / "config.json", config_lib.to_json(whole))
    (folder / "processors").mkdir()
    if metrics is not None:
        write_json(folder / "metrics.json", metrics)
    if finished:
        write_json(folder / "status.json", {"status": "finished"})
    if records:
        lines = "".join(json.dumps(one) + "\n" for one in records)
        (folder / "metrics.jsonl").write_text(lines)
    return folder


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "deep/c", "d", "a/alone/text"):
        (tmp_path / name).mkdir(parents=True)
    make(tmp_path / "a", metrics={"test": {"accuracy": 0.5, "log_loss": 0.9}})
    make(
        tmp_path / "b",
        "seed=3",
        "model.fusion.width=16",
        metrics={"validation": {"accuracy": 0.1}, "test": {"accuracy": 0.75, "log_loss": 0.4}},
    )
    curve = [{"step": 2, "train/loss": 1.5}, {"step": 4, "validation/accuracy": 0.25}]
    make(tmp_path / "deep" / "c", finished=False, records=curve)
    (tmp_path / "d" / "config.json").write_text("{")
    (tmp_path / "d" / "processors").mkdir()
    make(tmp_path / "a" / "alone" / "text", metrics={"test": {"accuracy": 0.9}})
    return tmp_path


def test_runs_are_found_with_what_they_are(folder):
    found = {one.run: one for one in runs(folder)}
    assert list(found) == ["a", "b", "d", "deep/c"]
    b = found["b"]
    assert (b.status, b.task, b.fusion, b.seed) == ("finished", "classification", "concat", 3)
    assert (b.modalities, b.split, b.metrics["accuracy"]) == ("text + image", "test", 0.75)
    assert b.value("model.fusion.width") == 16
    c = found["deep/c"]
    assert (c.status, c.step, c.split, c.metrics) == (
        "stopped",
        4,
        "validation",
        {"accuracy": 0.25},
    )
    assert found["d"].status == "damaged"
    assert runs(folder, split="validation")[1].metrics == {"accuracy": 0.1}
    assert [one.run for one in runs(folder, alone=True)][:2] == ["a", "a/alone/text"]
    assert [one.run for one in runs(folder / "b")] == ["b"]


def test_a_run_that_a_process_holds_is_in_training(folder):
    with Lock(folder / "deep" / "c" / "run.lock"):
        assert runs(folder / "deep")[0].status == "training"
    assert runs(folder / "deep")[0].status == "stopped"


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("accuracy", ["b", "a", "deep/c", "d"]),
        ("-accuracy", ["deep/c", "a", "b", "d"]),
        ("log_loss", ["b", "a", "d", "deep/c"]),
        ("run", ["a", "b", "d", "deep/c"]),
        ("-seed", ["b", "a", "deep/c", "d"]),
    ],
)
def test_the_best_come_first(folder, sort, order):
    assert [one.run for one in runs(folder, sort=sort)] == order


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["accuracy>0.4"], ["a", "b"]),
        (["accuracy>=0.25", "status!=finished"], ["deep/c"]),
        (["model.fusion.width=16"], ["b"]),
        (["model.fusion=concat", "seed=0"], ["a", "deep/c"]),
        (["status=damaged"], ["d"]),
    ],
)
def test_conditions(folder, where, kept):
    assert [one.run for one in runs(folder, where=where)] == kept


def test_refusals(folder, capsys):
    with pytest.raises(DataError, match="MMX-310"):
        runs(folder / "none")
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        runs(folder, sort="acuracy")
    with pytest.raises(ConfigError, match="MMX-105"):
        runs(folder, where=["accuracy"])
    assert main(["runs", str(folder), "--where", "acuracy>1"]) == 2
    with pytest.raises(CheckpointError, match="MMX-601"):
        Followed(folder / "none")


def test_the_tables_and_lines_of_the_command(folder, capsys):
    assert main(["runs", str(folder), "--sort", "accuracy", "--columns", "train.duration"]) == 0
    out = capsys.readouterr().out
    assert "4 runs" in out
    assert out.index(" b ") < out.index(" a ")
    assert "8 steps" in out
    assert main(["runs", str(folder), "--json", "--where", "seed=3"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["metrics"] == {"accuracy": 0.75, "log_loss": 0.4}


def test_a_run_is_followed_as_it_writes(folder, capsys):
    path = folder / "deep" / "c" / "metrics.jsonl"
    followed = Followed(folder / "deep" / "c")
    assert followed.look() == 2
    with path.open("a") as file:
        file.write('{"step": 6, "train/loss": 0.5}\n{"step": 8, "train')
    assert followed.look() == 1
    with path.open("a") as file:
        file.write('/loss": 0.25}\n{"step": 6, "train/loss": 0.75}\n')
    followed.look()
    assert [(one["step"], one.get("train/loss")) for one in followed.records] == [
        (2, 1.5),
        (4, None),
        (6, 0.5),
        (6, 0.75),
    ]
    path.write_text('{"step": 1, "train/loss": 2.0}\n')
    followed.look()
    assert [one["step"] for one in followed.records] == [1]
    assert main(["watch", str(folder / "deep" / "c"), "--once", "--width", "100"]) == 0
    out = capsys.readouterr().out
    assert "stopped" in out
    assert "step 1" in out
    assert "train/loss 2" in out


def test_a_plot_has_its_line_where_the_values_are():
    steps = np.arange(1.0, 41.0)
    text = plot("loss", {"a": (steps, steps), "b": (steps, np.full(40, np.nan))}, width=20)
    lines = text.plain.splitlines()
    assert lines[0] == "loss"
    assert lines[1].startswith("40 ┤")
    assert lines[8].startswith(" 1 ┤")
    first = [line.split("┤")[1] for line in lines[1:9]]
    filled = [len(line.rstrip()) - len(line.rstrip().lstrip()) for line in first]
    starts = [len(line) - len(line.lstrip(" ")) for line in first]
    assert starts == sorted(starts, reverse=True)
    assert starts[0] == 17
    assert starts[-1] == 0
    assert sum(filled) >= 20
    assert lines[-1].strip() == "━ a 40"
    assert "nothing yet" in plot("x", {"b": (steps, np.full(40, np.nan))}).plain
    flat = plot("x", {"b": (steps, np.full(40, 2.0))}).plain
    assert "3 ┤" in flat
