"""Every command, in this process, as a user types it."""

import json
import shutil

import numpy as np
import pytest
import tiny_run

from mmjax.api.run import Run
from mmjax.checkpoint.load import load_arrays
from mmjax.cli import COMMANDS, main
from mmjax.core.files import read_json

# Small enough for a test whatever `fit` proposes.
SMALL = (
    "train.duration=4 steps",
    "data.batch_size=8",
    "model.fusion.width=8",
    "model.encoders.text.width=8",
    "model.encoders.image.width=8",
    "model.encoders.image.channels=8",
    "model.encoders.image.blocks=0",
    "model.encoders.image.groups=4",
    "data.modalities.image.size=8",
    "model.encoders.table.width=8",
    "model.encoders.table.depth=0",
)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return tiny_run.write_data(tmp_path_factory.mktemp("other"), 13, name="other", seed=5)


@pytest.fixture
def told(capsys):
    """Runs a command that must succeed; what it wrote to standard output."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_train_leaves_a_whole_run(trained):
    found = {path.name for path in trained.iterdir()}
    assert found == {
        "checkpoints",
        "config.json",
        "costs.json",
        "data_summary.json",
        "facts.json",
        "metrics.json",
        "metrics.jsonl",
        "plots",
        "processors",
        "reference",
        "report.html",
        "status.json",
    }
    assert set(read_json(trained / "metrics.json")) == {"validation", "test"}
    assert read_json(trained / "status.json")["status"] == "finished"
    page = (trained / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_training_again_with_resume_shows_the_same_and_takes_no_step(told, trained):
    before = (trained / "metrics.jsonl").read_text()
    out = told("train", trained.parent / "config.py", "--workdir", trained, "--resume")
    assert "accuracy" in out
    assert f"run folder  {trained}" in out
    assert f'mmjax.load_run("{trained}")' in out
    assert (trained / "metrics.jsonl").read_text() == before


def test_predict_writes_a_line_a_row(told, trained, other, tmp_path):
    out = tmp_path / "new" / "predictions.jsonl"
    assert "13 predictions" in told("predict", trained, "--data", other, "--out", out)
    assert lines(out) == Run(trained).predict(other)
    assert [path.name for path in out.parent.iterdir()] == ["predictions.jsonl"]
    assert [one["id"] for one in lines(out)] == [row["id"] for row in tiny_run.read_rows(other)]


def test_predict_takes_a_single_example(told, trained, other):
    row = tiny_run.read_rows(other)[2]
    picture = other.parent / row["picture"]
    found = json.loads(told("predict", trained, "--text", row["words"], "--image", picture))
    want = Run(trained).predict(other)[2]
    assert found["label"] == want["label"]
    for label, share in want["probabilities"].items():
        assert found["probabilities"][label] == pytest.approx(share, abs=1e-6)
    by_column = told("predict", trained, "--set", f"words={row['words']}")
    assert json.loads(by_column) == json.loads(told("predict", trained, "--text", row["words"]))


def test_predict_takes_one_split_of_data_that_names_them(told, trained, other, tmp_path):
    out = tmp_path / "test.jsonl"
    told("predict", trained, "--data", trained.parent / "data.csv", "--out", out, "--split", "test")
    want = Run(trained).predict(split="test")
    assert [one["row"] for one in lines(out)] == [one["row"] for one in want]
    told("predict", trained, "--split", "test", "--out", out)
    assert lines(out) == want


def test_embed_writes_named_arrays(told, trained, other, tmp_path):
    out = tmp_path / "embeddings.npz"
    assert "fused [13, 8]" in told("embed", trained, "--data", other, "--out", out)
    with np.load(out) as found:
        want = Run(trained).embed(other)
        assert set(found) == set(want) == {"ids", "fused", "text", "image"}
        for name, array in want.items():
            assert np.array_equal(found[name], array)


def test_evaluate_renews_the_runs_own_metrics(told, trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    want = (copy / "metrics.json").read_text()
    (copy / "report.html").unlink()
    found = read_json(copy / "metrics.json")
    (copy / "metrics.json").write_text(json.dumps({**found, "test": {}}))
    out = told("evaluate", copy)
    assert "its own data, test" in out
    assert (copy / "metrics.json").read_text() == want
    assert (copy / "report.html").is_file()


def test_evaluate_elsewhere_leaves_the_run_as_it_is(told, trained, other, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    before = {n: (copy / n).read_bytes() for n in ("metrics.json", "report.html")}
    told("evaluate", copy, "--data", other)
    told("evaluate", copy, "--split", "validation")
    told("evaluate", copy, "--step", "latest")
    told("evaluate", copy, "--step", "latest", "--out", tmp_path / "out")
    assert {n: (copy / n).read_bytes() for n in before} == before
    folders = sorted(path.name for path in (copy / "evaluations").iterdir())
    assert folders == ["other-all", "own-test-step-latest", "own-validation"]
    for folder in (*(copy / "evaluations").iterdir(), tmp_path / "out"):
        assert (folder / "metrics.json").is_file()
        assert (folder / "report.html").is_file()
    metrics = read_json(copy / "evaluations" / "other-all" / "metrics.json")
    assert metrics["all"]["accuracy"] == Run(copy).evaluate(other)["accuracy"]
    latest = read_json(tmp_path / "out" / "metrics.json")["test"]
    assert latest["loss"] == pytest.approx(Run(copy, step="latest").evaluate()["loss"])


def test_describe_a_config_a_run_and_a_manifest(told, trained, other):
    config = told("describe", trained.parent / "config.py", "train.duration=6 steps")
    total = sum(x.size for x in _leaves(load_arrays(trained, prefixes=("params",))["params"]))
    assert f"{total:,}" in config
    assert "6 steps" in config
    assert "train 32, validation 4, test 4" in config
    run = told("describe", trained)
    assert "finished" in run
    assert "text: bag_of_subwords, image: image_cnn" in run
    manifest = told("describe", other)
    assert "13 rows, 0 bad" in manifest
    assert "target label" in told("describe", other, "--label", "kind")


def _leaves(tree):
    if isinstance(tree, dict):
        return [leaf for inner in tree.values() for leaf in _leaves(inner)]
    return [tree]


def test_list_shows_what_is_registered(told):
    from mmjax.data.config import modalities, sources
    from mmjax.encoders import registry

    encoders = told("list", "encoders")
    assert all(name in encoders for name in registry)
    whole = told("list")
    assert all(name in whole for name in (*registry, *modalities, *sources))


def test_list_shows_what_can_be_loaded(told):
    rows = [line.split() for line in told("list", "pretrained").splitlines()]
    assert ["clip", "CLIPModel", "vision,", "text"] in rows
    assert ["bert", "BertModel", "-"] in rows
    assert "t5_encoder" not in [row[0] for row in rows if row]  # a part, and no model type


def test_settings_may_stand_on_both_sides_of_options(told, trained, tmp_path):
    out = told("describe", trained.parent / "config.py", "train.duration=6 steps", "-v", "seed=3")
    assert "6 steps" in out


def test_every_command_has_help(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0
        assert f"usage: mmjax {name}" in capsys.readouterr().out


def test_fit_chooses_and_says_so(told, tmp_path):
    data = tiny_run.write_data(tmp_path)
    out = told("fit", data, *SMALL, "--label", "kind", "--workdir", tmp_path / "run")
    for line in ("Spec('text', column='words')", "encoder image: image_cnn", "4 steps"):
        assert line in out or line == "4 steps"
    run = Run(tmp_path / "run")
    assert {n: s.name for n, s in run.config.data.modalities.items()} == {
        "text": "text",
        "image": "image",
        "table": "table",
    }
    assert run.config.data.id_column == "id"
    assert len(run.predict(data)) == 40
    assert run.metrics["test"]["accuracy"] == pytest.approx(run.evaluate()["accuracy"])


def test_seeds_give_mean_and_spread(told, tmp_path):
    data = tiny_run.write_data(tmp_path)
    whole = tiny_run.plain(data, "text", "train.duration=4 steps")
    path = tiny_run.write_config(tmp_path / "config.py", whole)
    out = told("train", path, "--workdir", tmp_path / "runs", "--seeds", 2)
    runs = [Run(tmp_path / "runs" / f"seed_{seed}") for seed in (0, 1)]
    assert [run.config.seed for run in runs] == [0, 1]
    values = [run.metrics["test"]["log_loss"] for run in runs]
    assert values[0] != values[1]
    found = read_json(tmp_path / "runs" / "seeds.json")["text alone"]["log_loss"]
    assert found["values"] == values
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["spread"] == pytest.approx(np.std(values, ddof=1))
    assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in out


def test_single_modalities_are_trained_on_the_same_rows(told, tmp_path):
    data = tiny_run.write_data(tmp_path)
    rows = tiny_run.read_rows(data)
    rows[0]["words"] = rows[7]["words"] = rows[12]["picture"] = ""
    tiny_run.write_rows(data, rows)
    whole = tiny_run.config(data, "train.duration=4 steps", "train.single_modality_baselines=true")
    path = tiny_run.write_config(tmp_path / "config.py", whole)
    folder = tmp_path / "run"
    out = told("train", path, "--workdir", folder)
    assert [line for line in out.splitlines() if "text alone" in line and "fused" in line]
    runs = [Run(folder), Run(folder / "alone" / "text"), Run(folder / "alone" / "image")]
    splits = [read_json(run.folder.processors / "splits.json")["splits"] for run in runs]
    assert splits[0] == splits[1] == splits[2]
    found = [run.predict(split="all") for run in runs]
    assert [len(one) for one in found] == [40, 40, 40]
    assert list(runs[1].config.model.encoders) == ["text"]

    # Evaluating the run again keeps its baselines beside it.
    before = (folder / "report.html").read_text()
    assert "image alone" in before
    told("evaluate", folder)
    assert (folder / "report.html").read_text().count("image alone") == before.count("image alone")
