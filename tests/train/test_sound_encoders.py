"""Pretrained encoders of sound, from wave files to a trained run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import goldens
import jax
import numpy as np
import pytest
import soundfile
import tiny_run

from mmjax.api.run import Run
from mmjax.checkpoint.load import load_arrays
from mmjax.core.registry import Spec
from mmjax.train.config import Config
from mmjax.train.trainer import fit

RATE = 16_000
SOUNDS = {
    "wav2vec2": ("", {"features": "waveform", "max_seconds": 0.02}),
    "hubert_stable": ("", {"features": "waveform", "max_seconds": 0.02}),
    "whisper": ("#encoder", {"mel_bins": 6, "max_seconds": 0.14}),
    "audio-spectrogram-transformer": ("", {"style": "kaldi", "mel_bins": 11, "max_seconds": 0.2}),
}
"""Golden cases, their part, and the front end that they read; none fills all of its lengths."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Sounds whose pitch tells the class."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    rows = []
    for index in range(12):
        samples = int(RATE * (0.01 + 0.02 * index))
        pitch = 2 * np.pi * (200 + 400 * (index % 3)) / RATE
        sound = np.sin(pitch * np.arange(samples)) + 0.1 * rng.standard_normal(samples)
        soundfile.write(folder / f"{index}.wav", 0.3 * sound, RATE)
        rows.append({"id": index, "sound": f"{index}.wav", "kind": tiny_run.LABELS[index % 3]})
    return tiny_run.write_rows(folder / "data.csv", rows, ("id", "sound", "kind"))


def config_of(data: Path, name: str, folder: Path) -> Config:
    part, front = SOUNDS[name]
    whole = tiny_run.plain(data, "text", "train.duration=2 steps", "train.save_every=2 steps")
    goldens.write_folder(goldens.load(name), folder)
    return dataclasses.replace(
        whole,
        data=dataclasses.replace(
            whole.data, modalities={"sound": Spec("audio", column="sound", **front)}, batch_size=4
        ),
        model=dataclasses.replace(
            whole.model, encoders={}, pretrained={"sound": f"{folder}{part}"}
        ),
    )


@pytest.mark.parametrize(
    "name",
    [
        "hubert_stable",
        "whisper",
        "wav2vec2",
        "audio-spectrogram-transformer",
    ],
)
@pytest.mark.slow
def test_trains_on_what_the_data_room_gives(name, data, tmp_path):
    config = config_of(data, name, tmp_path / "folder")
    with tiny_run.one_device():
        run = fit(config, tmp_path / "run")
    arrays = load_arrays(run.path, "latest")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(arrays["params"]))
    if name == "hubert_stable":
        before = goldens.load(name).weights()["encoder.pos_conv_embed.batch_norm.running_mean"]
        (after,) = (
            leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(arrays["collections"])
            if jax.tree_util.keystr(path).endswith("['mean']")
        )
        assert 0.01 < np.abs(after - before).max() < 1.0
    path = str(data.parent / "3.wav")
    (row,) = Run(run.path).predict({"id": ["a"], "sound": [path]}, root=str(data.parent))
    assert row["label"] in tiny_run.LABELS
