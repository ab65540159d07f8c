"""Runs with stand-ins, R-Drop, mixup, classes in turns and few rows, and with changed gradients."""

from __future__ import annotations

import shutil

import jax
import numpy as np
import pytest
import tiny_run

from mmjax.api.run import load_run
from mmjax.checkpoint.load import load_arrays
from mmjax.cli import main
from mmjax.core.files import read_json
from mmjax.train.trainer import fit
from mmjax.writers import read_records

SETTINGS = (
    "train.duration=2 steps",
    "train.evaluate_every=2 steps",
    "train.save_every=2 steps",
    "train.ema_decay=0",
    "model.missing_tokens=true",
    "model.modality_dropout=0.3",
    "model.r_drop=1.0",
    "model.mixup=0.4",
    "data.few_shot.rows=5",
    "data.sampling.power=0.5",
)


@pytest.mark.slow
def test_a_run_learns_with_all_of_them_and_is_loaded_again(tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    config = tiny_run.write_config(
        tmp_path / "config.py", tiny_run.config(tiny_run.write_data(tmp_path))
    )
    folder = tmp_path / "run"
    with tiny_run.one_device():
        assert main(["train", str(config), *SETTINGS, "--workdir", str(folder)]) == 0
        run = load_run(folder)
        answer = run.predict_one(text="wing beak")
        metrics = run.evaluate()
    stored = read_json(folder / "config.json")
    assert stored["data"]["few_shot"]["rows"] == 5
    assert stored["model"]["r_drop"] == 1.0
    assert len(run.dataset().rows("train")) == 15
    assert set(run.module.stand_ins) == {"text", "image"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert metrics["accuracy"] == run.metrics["test"]["accuracy"]
    lines = read_records(folder / "metrics.jsonl")
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert np.isfinite(losses).all()
    assert losses


BALANCED = (
    "train.duration=4 steps",
    "train.evaluate_every=2 steps",
    "train.save_every=2 steps",
    "train.log_every=1 steps",
    "train.ema_decay=0",
    "train.average_from=50%",
    "model.gradient_balance=0.3",
    "model.auxiliary_loss=0.5",
    "optimizer.gradient_noise=1.0",
    "optimizer.sam=0.05",
    "optimizer.multipliers={'^/encoders_text/': 0.1, '^/encoders_image/': 0.5}",
)


@pytest.mark.slow
def test_gradients_that_are_changed_leave_a_run_that_resumes(tmp_path, monkeypatch):
    """OGM-GE, sharpness-aware steps and late averages: the same end with a stop half way."""
    tiny_run.plain_figures(monkeypatch)
    config = tiny_run.config(tiny_run.write_data(tmp_path), *BALANCED)
    with tiny_run.one_device():
        whole = fit(config, tmp_path / "whole").path
        shutil.copytree(whole, tmp_path / "half")
        shutil.rmtree(tmp_path / "half" / "checkpoints" / "4")
        (tmp_path / "half" / "status.json").unlink()
        half = fit(config, tmp_path / "half", resume=True).path
    ends = [load_arrays(folder, 4, prefixes=("params", "ema")) for folder in (whole, half)]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    lines = [one for one in read_records(whole / "metrics.jsonl") if "train/loss" in one]
    shares = [[one[f"gradient_balance/{name}"] for name in ("text", "image")] for one in lines]
    assert len(shares) == 4
    # Of two, the one that knows less is never held back.
    assert all(max(pair) == 1 and 0 < min(pair) <= 1 for pair in shares)
    start = load_arrays(whole, 2, prefixes=("params", "ema"))
    # Until it begins, the average is what it will be of: the parameters of now.
    jax.tree.map(np.testing.assert_array_equal, start["params"], start["ema"])
    for part, before in start["params"].items():
        same = jax.tree.map(np.array_equal, before, ends[0]["params"][part])
        assert not all(jax.tree.leaves(same)), part
