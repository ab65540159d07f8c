"""One run with stand-ins, R-Drop, mixup, classes in turns and few rows, through the commands."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_run

from mmjax.api.run import load_run
from mmjax.cli import main
from mmjax.core.files import read_json
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
