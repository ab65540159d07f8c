"""Sounds and videos from a manifest to predictions: by `fit`, and by a config."""

import json

import numpy as np
import pytest
import tiny_media
import tiny_run

import mmjax
from mmjax.api import choosing, showing
from mmjax.cli import main
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.data.manifest import read
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, TrainConfig

# Small enough for a test whatever `fit` proposes.
SMALL = (
    "train.duration=4 steps",
    "data.batch_size=8",
    "data.eval_batch_size=8",
    "data.on_bad_sample=quarantine",
    "model.fusion.width=8",
    "model.encoders.text.width=8",
    "model.encoders.audio.channels=8",
    "model.encoders.audio.groups=4",
    "model.encoders.audio.width=8",
    "data.modalities.audio.mel_bins=16",
)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A run that `fit` made of sounds and words, and what it told."""
    folder, told = tmp_path_factory.mktemp("sounds"), []
    path = tiny_media.write_sounds(folder)
    with tiny_run.one_device(), pytest.MonkeyPatch.context() as patch:
        tiny_run.plain_figures(patch)
        tiny_run.numpy_start(patch)
        run = mmjax.fit(path, "bird", folder / "run", settings=SMALL, tell=told.append)
    return run, path, told


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A run of a config with videos alone."""
    folder = tmp_path_factory.mktemp("videos")
    path = tiny_media.write_videos(folder)
    image = Spec("image_cnn", channels=(8,), blocks=(0,), groups=4, width=8)
    config = Config(
        data=DataConfig(
            source=Spec("csv", path=str(path)),
            modalities={"video": Spec("video", column="clip", frames=3, size=8)},
            targets={"label": Spec("category", column="colour")},
            id_column="key",
            batch_size=4,
            threads=1,
        ),
        model=ModelConfig(
            encoders={"video": Spec("frames", image=image, width=8)}, fusion=Spec("concat", width=8)
        ),
        train=TrainConfig(duration="2 steps"),
    )
    with tiny_run.one_device(), pytest.MonkeyPatch.context() as patch:
        tiny_run.plain_figures(patch)
        tiny_run.numpy_start(patch)
        run = mmjax.train(config, folder / "run")
    return run, path


def shares(answer):
    return list(answer["probabilities"].values())


def test_sounds_are_chosen_for_with_reasons(sounds):
    run, _, told = sounds
    said = "\n".join(told)
    assert "encoder audio: audio_cnn, a small network from scratch on 64 log-mel bands" in said
    assert "of 0.12 s at 8,000 Hz" in said
    assert set(run.config.model.encoders) == {"text", "audio"}
    assert run.config.data.modalities["audio"].options["column"] == "cry"
    assert run.facts["modalities"]["audio"] == {
        "sample_rate": 8000,
        "mel_bins": 16,
        "max_frames": 12,
    }


def test_a_damaged_sound_is_left_out_and_a_missing_one_is_not(sounds):
    run = sounds[0]
    lines = (run.folder.processors / "quarantine.jsonl").read_text().splitlines()
    (bad,) = map(json.loads, lines)
    assert (bad["row"], bad["column"]) == (tiny_media.DAMAGED, "cry")
    assert f"{tiny_media.DAMAGED}.wav" in bad["message"]
    found = run.predict()
    expected = [f"s{row}" for row in range(24) if row != tiny_media.DAMAGED]
    assert sorted(one["id"] for one in found) == sorted(expected)
    assert np.isfinite([share for one in found for share in shares(one)]).all()


def test_a_single_sound_is_predicted_by_path_bytes_and_command(sounds, tmp_path, capsys):
    run = sounds[0]
    path = tiny_media.write_sound(tmp_path / "new.wav", "wren", seed=99)
    alone = run.predict_one(audio=path)
    assert set(alone["probabilities"]) == {"owl", "wren"}
    assert run.predict_one(audio=path.read_bytes()) == alone
    assert run.predict_one(cry=str(path)) == alone
    other = tiny_media.write_sound(tmp_path / "other.wav", "owl", seed=99)
    assert shares(run.predict_one(audio=other)) != shares(alone)
    capsys.readouterr()
    assert main(["predict", str(run.folder.path), "--audio", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == alone["label"]
    assert main(["predict", str(run.folder.path), "--audio", str(tmp_path / "no.wav")]) == 2
    assert "no.wav' cannot be read" in capsys.readouterr().err


def test_a_report_shows_sounds(sounds):
    run = sounds[0]
    page = run.folder.report.read_text(encoding="utf-8")
    assert 'alt="cry of row ' in page
    assert f'mmjax predict {run.folder.path} --text "..." --audio FILE' in page.replace(
        "&quot;", '"'
    )
    dataset = run.dataset()
    fields, images = showing.inputs(run, dataset, 1)
    assert fields == {"cry": "sounds/1.wav", "place": dataset.table.row(1)["place"]}
    # The tone of 1600 Hz is brighter than all else, and above the one of 400 Hz.
    tops = [showing.inputs(run, dataset, row)[1]["cry"].mean(axis=1).argmax() for row in (0, 1)]
    assert images["cry"].dtype == np.uint8
    assert images["cry"].shape == (64, 12)
    assert tops[1] < tops[0]
    assert "cry" not in showing.inputs(run, dataset, tiny_media.MISSING)[1]


def test_videos_train_and_predict(videos, tmp_path, capsys):
    run, _ = videos
    assert run.facts["modalities"]["video"] == {"frames": 3, "image_size": 8, "channels": 3}
    assert run.config.model.encoders["video"].options["image"].name == "image_cnn"
    path = tiny_media.write_video(tmp_path / "new.mp4", 0)
    alone = run.predict_one(video=path)
    assert run.predict_one(video=path.read_bytes()) == alone
    rows = {one["id"]: one for one in run.predict()}
    assert len(rows) == 12
    np.testing.assert_allclose(shares(rows["v0"]), shares(alone), atol=1e-6)
    assert shares(rows["v1"]) != shares(rows["v0"])
    capsys.readouterr()
    assert main(["predict", str(run.folder.path), "--video", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == alone["label"]


def test_a_report_shows_frames_side_by_side(videos):
    run, _ = videos
    assert 'alt="clip of row ' in run.folder.report.read_text(encoding="utf-8")
    fields, images = showing.inputs(run, run.dataset(), 0)
    assert fields == {"clip": "videos/0.mp4"}
    assert images["clip"].shape == (16, 3 * 16, 3)
    means = images["clip"].reshape(16, 3, 16, 3).mean(axis=(0, 2))
    assert (np.diff(means[:, 0]) > 20).all()
    assert means[:, 2].max() < 40


def test_sizes_follow_from_what_a_few_files_hold(tmp_path):
    waves = [np.zeros(rate * seconds) for rate, seconds in ((22_050, 30), (22_050, 2), (8_000, 1))]
    cells = [
        {"array": wave, "sampling_rate": rate}
        for wave, rate in zip(waves, (22_050, 22_050, 8_000), strict=True)
    ]
    table = read({"cry": [*cells, b"no sound", None], "y": list("ababa")})
    chosen = choosing.choose(table, Spec("audio", column="cry"))
    options = chosen.modality.options
    assert (options["sample_rate"], options["max_seconds"]) == (16_000, 10.0)
    assert options["hop_seconds"] == pytest.approx(10 / 250)
    assert choosing.sound_size(read({"cry": [None] * 3}), chosen.modality) == (16_000, 10.0)
    clips = [np.zeros((2, 90, 40, 3), np.uint8), np.zeros((2, 120, 44, 3), np.uint8), None]
    table = read({"clip": clips, "y": list("aba")})
    chosen = choosing.choose(table, Spec("video", column="clip"))
    assert chosen.modality.options["size"] == 32
    assert "4 frames of 32 x 32" in chosen.reason
    assert (chosen.encoder.name, chosen.encoder.options["image"].name) == ("frames", "image_cnn")
