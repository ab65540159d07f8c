"""Whole runs: sharding, accumulation, early stopping, the best checkpoint, steps that fail."""

import dataclasses
import logging

import jax
import numpy as np
import pytest
import tiny_run

from mmjax.api.run import Run
from mmjax.checkpoint.load import load_arrays
from mmjax.core.errors import CheckpointError, ConfigError, DataError, NumericError
from mmjax.core.files import read_json
from mmjax.parallel.mesh import make_mesh
from mmjax.train import stepping as stepping_module
from mmjax.train import trainer as trainer_module
from mmjax.train.evaluate import Evaluation
from mmjax.train.stepping import Stepping
from mmjax.train.trainer import Trainer, fit
from mmjax.writers import read_records


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_run.write_data(tmp_path_factory.mktemp("data"))


def losses(folder, name="train/loss"):
    records = read_records(folder.path / "metrics.jsonl")
    return [record[name] for record in records if name in record]


@pytest.fixture
def trainers(monkeypatch):
    """The trainers that `fit` makes."""
    made = []
    run = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda self, *args: made.append(self) or run(self, *args))
    return made


@pytest.mark.slow
def test_sharded_equals_unsharded(data, tmp_path, monkeypatch, trainers):
    changes = ("train.duration=6 steps", "train.log_every=1 steps", "train.evaluate_every=3 steps")
    config = tiny_run.config(data, *changes)
    one = fit(config, tmp_path / "one")
    shape = ("mesh.data=2", "mesh.fsdp=2", "mesh.tensor=2")
    devices = jax.local_devices()
    assert len(devices) == 8
    monkeypatch.setattr(trainer_module, "make_mesh", lambda config: make_mesh(config, devices))
    eight = fit(tiny_run.config(data, *changes, *shape), tmp_path / "eight")

    assert [made.mesh.size for made in trainers] == [1, 8]
    kernel = trainers[1].state.params["encoders_image"]["stage_0"]["kernel"]
    assert not kernel.sharding.is_fully_replicated
    assert len(losses(one)) == 6
    for name in ("train/loss", "train/grad_norm", "validation/loss"):
        np.testing.assert_allclose(losses(eight, name), losses(one, name), rtol=1e-5)
    ours, theirs = (load_arrays(run.path, "latest")["params"] for run in (eight, one))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours, theirs)


def test_the_step_compiles_once_a_length(data, tmp_path, monkeypatch, trainers):
    steppings = []

    def stepping(*args):
        steppings.append(Stepping(*args))
        return steppings[-1]

    monkeypatch.setattr(trainer_module, "Stepping", stepping)
    lengths = tiny_run.plain(data, "text", "data.modalities.text.lengths=36")
    fit(lengths, tmp_path / "lengths")
    fit(tiny_run.plain(data, "text"), tmp_path / "one")
    several, _ = trainers
    seen = set()
    with several.dataset.loader("train", train=True) as loader:
        for _ in range(8):
            seen.add(next(loader).inputs["text"]["input_ids"].shape)
    assert seen == {(8, 36), (8, 48)}
    assert [made.programs for made in steppings] == [2, 1]


def test_micro_batches_add_up_to_the_batch(data, tmp_path):
    whole = fit(tiny_run.plain(data, "text"), tmp_path / "whole")
    parts = fit(
        tiny_run.plain(data, "text", "train.gradient_accumulation_steps=2"), tmp_path / "parts"
    )
    for name in ("train/loss", "train/grad_norm", "validation/loss"):
        np.testing.assert_allclose(losses(parts, name), losses(whole, name), rtol=1e-5)


@pytest.mark.parametrize("shape", [(), ("mesh.data=2", "mesh.fsdp=2")], ids=["alone", "mesh"])
def test_steps_in_one_call_are_the_same_run(data, tmp_path, shape, monkeypatch):
    devices = jax.local_devices()
    monkeypatch.setattr(
        trainer_module, "make_mesh", lambda config: make_mesh(config, devices[: 4 if shape else 1])
    )
    changes = ("train.duration=7 steps", "train.log_every=3 steps", "train.evaluate_every=5 steps")
    one = fit(tiny_run.plain(data, "text", *changes, *shape), tmp_path / "one")
    four = fit(
        tiny_run.plain(data, "text", *changes, *shape, "train.steps_per_call=4"), tmp_path / "four"
    )
    for name in ("train/loss", "train/grad_norm", "validation/loss"):
        assert losses(one, name) == losses(four, name)
    assert len(losses(one)) == 3
    ours, theirs = (load_arrays(run.path, "latest") for run in (four, one))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def fake_scores(monkeypatch, scores, name="accuracy"):
    """Evaluations return these, after one whose result is not used."""
    left = [0.0, *scores]

    def evaluate(*_args, **_kwargs):
        empty = np.zeros(0)
        return Evaluation({"loss": 1.0, name: left.pop(0)}, {}, {}, empty, {})

    monkeypatch.setattr(trainer_module, "evaluate", evaluate)


def test_early_stopping_counts_evaluations_without_progress(data, tmp_path, monkeypatch, trainers):
    changes = (
        "train.evaluate_every=1 steps",
        "train.early_stopping_patience=2",
        "train.early_stopping_threshold=0.1",
    )
    # 0.55 and 0.65 are each below the threshold, together above it; NaN is no progress.
    fake_scores(monkeypatch, [0.5, 0.55, 0.65, float("nan"), 0.66, 0.9, 0.9])
    config = tiny_run.plain(data, "text", *changes)
    folder = fit(config, tmp_path / "run")
    status = read_json(folder.path / "status.json")
    assert status["status"] == "finished"
    assert status["stopped_early"].startswith("no better accuracy in 2 evaluations")
    assert int(trainers[0].state.step) == 5
    assert load_arrays(folder.path, "latest")["step"] == 5

    # Killed after the last checkpoint and before the note that the run is finished.
    (folder.path / "status.json").unlink()
    before = folder.metrics.read_text()
    fit(config, folder.path, resume=True)
    assert read_json(folder.path / "status.json") == status
    assert folder.metrics.read_text() == before
    assert len(trainers) == 1


def test_the_best_checkpoint_is_kept_whatever_the_save_period(data, tmp_path, monkeypatch):
    changes = ("train.evaluate_every=1 steps", "train.save_every=4 steps", "train.keep_last=1")
    fake_scores(monkeypatch, [0.2, 0.3, 0.9, 0.9, 0.4, 0.5, 0.6, 0.7])
    folder = fit(tiny_run.plain(data, "text", *changes), tmp_path / "run")
    monkeypatch.undo()
    assert sorted(int(path.name) for path in folder.checkpoints.iterdir()) == [3, 8]
    best, latest = (load_arrays(folder.path, step) for step in ("best", "latest"))
    assert (best["step"], latest["step"]) == (3, 8)

    # The run evaluates the average of step 3, not its parameters and no other step.
    run = Run(folder.path)
    with run.dataset().loader("test", train=False) as loader:
        batch = next(loader)
    found = {
        name: run.module.apply({"params": params}, batch, train=False).predictions["probabilities"]
        for name, params in (("ema", best["ema"]), ("params", best["params"]))
    }
    rows = np.asarray(batch.row_mask)
    ours = run.evaluation().predictions["probabilities"]
    np.testing.assert_allclose(ours, found["ema"][rows], atol=1e-6)
    assert not np.allclose(ours, found["params"][rows], atol=1e-4)


def test_the_lowest_loss_is_the_best(data, tmp_path, monkeypatch):
    changes = ("train.evaluate_every=2 steps", "train.best_metric=log_loss")
    fake_scores(monkeypatch, [0.5, 0.2, 0.4, 0.3], "log_loss")
    folder = fit(tiny_run.plain(data, "text", *changes), tmp_path / "run")
    assert load_arrays(folder.path, "best")["step"] == 4


def test_an_unknown_metric_stops_before_the_first_step(data, tmp_path):
    config = tiny_run.plain(data, "text", "train.best_metric=acuracy")
    with pytest.raises(ConfigError, match="did you mean 'accuracy'") as error:
        fit(config, tmp_path / "new" / "run")
    assert "train.best_metric" in str(error.value)
    assert not (tmp_path / "new").exists()


def poison(monkeypatch, steps):
    """Makes the pictures of these steps NaN; returns the rows of their batches."""
    put, count, rows = stepping_module.feed, iter(range(1, 100)), {}

    def feed(batches, mesh, most):
        (batch,), step = batches, next(count)
        if step in steps:
            rows[step] = np.asarray(batch.row)
            pixels = batch.inputs["image"]["pixel_values"] * np.float32("nan")
            batch = dataclasses.replace(batch, inputs={"image": {"pixel_values": pixels}})
        return put([batch], mesh, most)

    monkeypatch.setattr(stepping_module, "feed", feed)
    return rows


def test_one_bad_step_is_skipped(data, tmp_path, monkeypatch, caplog):
    config = tiny_run.plain(data, "image", "train.save_every=1 steps", "train.keep_last=8")
    poison(monkeypatch, [3])
    with caplog.at_level(logging.WARNING, "mmjax"):
        folder = fit(config, tmp_path / "run")
    assert "step 3 was skipped" in caplog.text
    two, three, four = (load_arrays(folder.path, step) for step in (2, 3, 4))
    for part in ("params", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, two[part], three[part])
    assert not np.array_equal(
        three["params"]["task"]["head"]["kernel"], four["params"]["task"]["head"]["kernel"]
    )
    assert (three["step"], three["skipped"], three["skipped_in_a_row"]) == (3, 1, 1)
    assert (four["step"], four["skipped"], four["skipped_in_a_row"]) == (4, 1, 0)
    assert np.isfinite(losses(folder)).all()


@pytest.mark.parametrize("log_every", ["2 steps", "0 steps"])
def test_bad_steps_in_a_row_end_the_run_and_name_their_rows(data, tmp_path, monkeypatch, log_every):
    config = tiny_run.plain(data, "image", f"train.log_every={log_every}", "train.max_skipped=3")
    rows = poison(monkeypatch, [2, 4, 5, 6])
    with pytest.raises(NumericError, match="not finite 3 times in a row") as error:
        fit(config, tmp_path / "run")
    assert error.value.exit_code == 3
    message = str(error.value)
    assert "step 4, 5, 6;" in message
    # The header is line 1, so row 0 is on line 2.
    first = [int(row) for row in rows[4]]
    for row in first:
        assert f"data.csv:{row + 2}" in message
    for row in set(map(int, rows[2])) - {int(row) for step in (4, 5, 6) for row in rows[step]}:
        assert f"data.csv:{row + 2}," not in message
    assert load_arrays(tmp_path / "run", "latest")["step"] <= 6
    assert np.isfinite(load_arrays(tmp_path / "run", "latest")["ema"]["task"]["head"]["bias"]).all()


RANGES = [
    ("data.batch_size", 0),
    ("data.eval_batch_size", -1),
    ("train.max_skipped", 0),
    ("train.ema_decay", 1.0),
    ("train.keep_last", 0),
    ("train.gradient_accumulation_steps", 0),
    ("train.early_stopping_patience", 0),
    ("optimizer.learning_rate", -1.0),
    ("optimizer.max_grad_norm", 0.0),
    ("optimizer.b2", 1.0),
    ("model.modality_dropout", 1.0),
]


@pytest.mark.parametrize(("setting", "value"), RANGES)
def test_values_out_of_range_are_named(data, tmp_path, setting, value):
    config = tiny_run.plain(data, "text", f"{setting}={value}")
    with pytest.raises(ConfigError, match="is out of range") as error:
        fit(config, tmp_path / "run")
    assert setting in str(error.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_writer_is_named(data, tmp_path):
    config = tiny_run.plain(data, "text", "train.writers=jsonl,tensorbord")
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        fit(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_patience_needs_validation_rows(data, tmp_path):
    config = tiny_run.plain(
        data, "text", "train.early_stopping_patience=2", "data.split.fractions=0.8,0,0.2"
    )
    with pytest.raises(ConfigError, match="early stopping without validation rows"):
        fit(config, tmp_path / "run")


def test_without_validation_the_newest_checkpoint_is_the_best(data, tmp_path):
    config = tiny_run.plain(data, "text", "data.split.fractions=0.8,0,0.2")
    folder = fit(config, tmp_path / "run")
    assert load_arrays(folder.path, "best")["step"] == 8
    assert set(Run(folder.path).evaluate()) >= {"accuracy", "macro_f1", "loss"}


def test_a_run_is_not_begun_twice(data, tmp_path, trainers):
    config = tiny_run.plain(data, "text")
    folder = fit(config, tmp_path / "run")
    before = folder.metrics.read_text()
    with pytest.raises(CheckpointError, match="holds a run already"):
        fit(config, folder.path)
    fit(config, folder.path, resume=True)
    assert folder.metrics.read_text() == before
    assert len(trainers) == 1


@pytest.mark.parametrize(
    "change",
    ["seed=1", "optimizer.learning_rate=0.5", "train.duration=9 steps", "data.batch_size=4"],
)
def test_other_settings_are_refused_at_a_resume(trained, data, change):
    config = tiny_run.config(trained.parent / "data.csv", *tiny_run.LONG, change)
    with pytest.raises(ConfigError, match="started with other settings") as error:
        fit(config, trained, resume=True)
    assert change.partition("=")[0] in str(error.value)


def test_settings_that_do_not_matter_may_change_at_a_resume(trained):
    changes = ("train.log_every=1 steps", "data.threads=2", "train.keep_last=5", "mesh.data=1")
    config = tiny_run.config(trained.parent / "data.csv", *tiny_run.LONG, *changes)
    assert fit(config, trained, resume=True).path == trained


def test_other_data_is_refused_at_a_resume(tmp_path):
    path = tiny_run.write_data(tmp_path)
    config = tiny_run.plain(path, "text", "train.duration=1 steps")
    folder = fit(config, tmp_path / "run")
    rows = tiny_run.read_rows(path)
    rows[3]["words"] = "quite another"
    tiny_run.write_rows(path, rows)
    with pytest.raises(DataError, match="the data has changed"):
        fit(config, folder.path, resume=True)


def test_the_last_step_is_saved_whatever_the_period(data, tmp_path):
    config = tiny_run.plain(data, "text", "train.save_every=0 steps", "train.keep_best=0")
    folder = fit(config, tmp_path / "run")
    assert [path.name for path in folder.checkpoints.iterdir()] == ["8"]


def test_a_batch_of_one(data, tmp_path):
    sizes = ("data.batch_size=1", "data.eval_batch_size=1", "train.duration=2 steps")
    run = Run(fit(tiny_run.plain(data, "text", *sizes), tmp_path / "run").path)
    found = run.predict(data)
    (alone,) = run.predict({"id": ["x"], "words": [tiny_run.read_rows(data)[7]["words"]]})
    assert len(found) == 40
    assert alone["probabilities"] == pytest.approx(found[7]["probabilities"], abs=1e-6)
