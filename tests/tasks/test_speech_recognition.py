"""Speech recognition from a Whisper folder: at its start it writes what the folder transcribes."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api.transcribing import transcribe
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

sys.path.append(str(Path(__file__).resolve().parents[1] / "generate"))
import speech


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    golden, path = json.loads(speech.FILE.read_text()), tmp_path_factory.mktemp("whisper")
    speech.write_folder(golden["config"], golden["shapes"], path)
    speech.write_tokenizer(path)
    return path


def rows(count=16):
    sound = speech.sound()
    starts = np.random.default_rng(0).integers(0, len(sound) - speech.RATE, count)
    sounds = [sound[a : a + 4000 + 500 * (i % 9)] for i, a in enumerate(starts.tolist())]
    said = [("w15 w4", "w7 w16 w1", "w14")[i % 3] for i in range(count)]
    return {"sound": sounds, "said": said}


def config_of(folder) -> Config:
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    return Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities={"audio": Spec("audio", column="sound", processor=str(folder))},
            targets={"label": Spec("text", column="said", max_length=6)},
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={"audio": Spec("whisper_encoder", keeps_silence=True, **still)},
            pretrained={"audio": f"{folder}#encoder"},
            fusion=Spec("unchanged", width=16),
        ),
        task=Spec("speech_recognition", pretrained=str(folder)),
        optimizer=OptimizerConfig(name="sgd", learning_rate=1e-30, weight_decay=0.0),
        train=TrainConfig(duration="2 steps", evaluate_every="2 steps", best_metric="wer"),
    )


@pytest.mark.slow
def test_a_run_of_a_whisper_folder(folder, tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    frame = rows()
    with tiny_run.one_device():
        run = mmjax.train(config_of(folder), tmp_path / "run", frame=frame)
        said = run.predict({"sound": frame["sound"]})
    options = run.config.task.options
    assert options["begins_with"] == (2, 5, 8, 20)
    assert options["leads_with"] == ()
    whisper = mmjax.load_pretrained(folder)
    told = {"language": "en", "max_new_tokens": 6}
    wanted = [transcribe(whisper, one, **told).text for one in frame["sound"]]
    # A tokenizer without a decoder joins words without blanks in a run.
    wanted = [one.replace(" ", "") for one in wanted]
    assert [one["text"] for one in said] == wanted
    assert len(set(wanted)) > 1


@pytest.mark.slow
def test_one_from_nothing_learns_what_is_said(folder, tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    frame = rows(24)
    words = {"w15 w4": 0.1, "w7 w16 w1": 0.5, "w14": 0.9}
    time = np.arange(speech.RATE) / speech.RATE
    frame["sound"] = [
        (words[one] * np.sin(2 * np.pi * 900 * words[one] * time)).astype(np.float32)
        for one in frame["said"]
    ]
    config = config_of(folder)
    small = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 32}
    label = config.data.targets["label"].replace(tokenizer="characters", max_length=12)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, targets={"label": label}),
        model=ModelConfig(
            encoders={"audio": Spec("whisper_encoder", max_frames=20, **small)},
            fusion=Spec("unchanged", width=16),
        ),
        task=Spec("speech_recognition", **small),
        optimizer=OptimizerConfig(learning_rate=2e-2),
        train=TrainConfig(duration="60 steps", evaluate_every="60 steps", best_metric="wer"),
    )
    with tiny_run.one_device():
        run = mmjax.train(config, tmp_path / "run", frame=frame)
        assert run.evaluate(frame)["wer"] < 0.1
