"""Columns of videos: fields, sampling, processors and augmentation."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from transformers import CLIPImageProcessor, VideoMAEImageProcessor, VivitImageProcessor
from videos import encoded, shades

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.modalities.base import Modality, Place, Processor
from mmjax.data.modalities.video import Video
from mmjax.data.pipeline import prepare
from mmjax.data.table import Table


def _table(*cells, root=None) -> Table:
    return Table(columns={"clip": list(cells)}, name="m.csv", fingerprint="f", root=root)


def _fitted(modality: Video, table: Table):
    assert isinstance(modality, Modality)
    fitted = modality.fit(table, np.arange(len(table)))
    assert isinstance(fitted, Processor)
    return fitted


def _example(processor, table, row=0, rng=None):
    return processor.example(table.row(row), Place(table, row), rng)


def _frames(count: int, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_frames_are_normalised_padded_and_masked():
    table = _table(_frames(12), _frames(3), None, " ")
    settings = Video("clip", frames=4, size=12, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    fitted = _fitted(settings, table)
    assert fitted.facts == {"frames": 4, "image_size": 12, "channels": 3}
    batch = fitted.collate([_example(fitted, table, i) for i in range(4)])
    assert batch["pixel_values"].shape == (4, 4, 12, 12, 3)
    assert batch["pixel_values"].dtype == np.float32
    want = (_frames(12) / 255.0 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(batch["pixel_values"][0], want[1::3], atol=1e-5)
    short = (_frames(3) / 255.0 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    np.testing.assert_allclose(batch["pixel_values"][1, :3], short, atol=1e-5)
    assert batch["frame_mask"].sum(1).tolist() == [4, 3, 0, 0]
    assert not batch["pixel_values"][1, 3].any()
    assert not batch["pixel_values"][2:].any()


def test_files_become_squares_of_one_size(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encoded(shades(30)))
    table = _table("a.mp4", encoded(shades(30, 64, 32), "webm", "libvpx"), root=tmp_path)
    fitted = _fitted(Video("clip", frames=3, size=16, channels=1), table)
    batch = fitted.collate([_example(fitted, table, i) for i in range(2)])["pixel_values"]
    assert batch.shape == (2, 3, 16, 16, 1)
    want = np.array([frame.mean() for frame in shades(30)[5::10]]) / 127.5 - 1
    np.testing.assert_allclose(batch.mean((2, 3, 4)), [want, want], atol=0.03)


def test_training_sees_any_frame_of_each_part():
    clip = np.repeat(np.arange(40, dtype=np.uint8), 3).reshape(40, 1, 1, 3)
    table = _table(clip)

    def seen(jitter):
        fitted = _fitted(Video("clip", frames=4, size=1, frame_jitter=jitter), table)
        assert fitted.random == (jitter > 0)
        rngs = [np.random.default_rng(i) for i in range(300)]
        made = [_example(fitted, table, 0, rng)["pixel_values"][:, 0, 0, 0] for rng in rngs]
        return np.stack(made).astype(int)

    anywhere = seen(1.0)
    for part in range(4):
        counts = np.bincount(anywhere[:, part] - 10 * part, minlength=10)
        assert len(counts) == 10
        assert counts.min() > 10
    near = seen(0.4)
    assert near.min(0).tolist() == [3, 13, 23, 33]
    assert near.max(0).tolist() == [6, 16, 26, 36]
    assert (seen(0.0) == [5, 15, 25, 35]).all()


def test_augmentation_is_one_for_all_frames_and_for_training_alone():
    still = np.repeat(_frames(1, 16), 6, axis=0)
    table = _table(still)
    augment = {"shift": 3, "flip": 0.5, "jitter": 0.3}
    fitted = _fitted(Video("clip", frames=3, size=16, augment=augment), table)
    trained = fitted.collate([_example(fitted, table, 0, np.random.default_rng(1))])
    frames = trained["pixel_values"][0]
    np.testing.assert_allclose(frames[1:], frames[:1].repeat(2, 0), atol=1e-6)
    evaluated = fitted.collate([_example(fitted, table)], train=False)["pixel_values"][0]
    np.testing.assert_allclose(evaluated[0], still[0] / 127.5 - 1, atol=1e-6)
    assert not np.allclose(frames[0], evaluated[0])


def test_one_random_part_is_cut_of_all_frames():
    still = np.repeat(_frames(1, 40), 6, axis=0)
    table = _table(still)
    augment = {"random_resized_crop": 0.1}
    fitted = _fitted(Video("clip", frames=3, size=16, augment=augment), table)
    seen = [_example(fitted, table, 0, np.random.default_rng(i))["pixel_values"] for i in (0, 1)]
    for frames in seen:
        assert frames.shape == (3, 16, 16, 3)
        assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("made", [VideoMAEImageProcessor, VivitImageProcessor, CLIPImageProcessor])
def test_hugging_face_processors(tmp_path, made):
    theirs = made(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16})
    theirs.save_pretrained(str(tmp_path / "hub"))
    clip = np.random.default_rng(0).integers(0, 256, (3, 30, 41, 3), dtype=np.uint8)
    if made is CLIPImageProcessor:
        want = theirs(list(clip), return_tensors="np")["pixel_values"]
    else:
        want = np.stack(theirs([list(clip)])["pixel_values"][0])
    table = _table(clip)
    modality = Video("clip", frames=3, processor=str(tmp_path / "hub"))
    fitted = _fitted(modality, table)
    fitted.save(tmp_path / "saved")
    for processor in (fitted, modality.load(tmp_path / "saved")):
        assert processor.facts == {"frames": 3, "image_size": 16, "channels": 3}
        got = processor.collate([_example(processor, table)])["pixel_values"][0]
        np.testing.assert_allclose(got, want.transpose(0, 2, 3, 1), atol=1e-5)


def test_processors_reach_worker_processes(tmp_path):
    VivitImageProcessor(size={"shortest_edge": 9}, crop_size=8).save_pretrained(str(tmp_path))
    table = _table(_frames(12))
    augment = {"random_resized_crop": 0.5, "randaugment": 2}
    fitted = _fitted(Video("clip", frames=4, processor=str(tmp_path), augment=augment), table)
    sent = pickle.loads(pickle.dumps(fitted))
    here, there = (
        one.collate([_example(one, table, 0, np.random.default_rng(3))]) for one in (fitted, sent)
    )
    assert np.array_equal(here["pixel_values"], there["pixel_values"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0},
        {"size": 0},
        {"mean": (0.5, 0.5)},
        {"std": (0.0,)},
        {"frame_jitter": 1.5},
        {"deadline_seconds": 0.0},
        {"processor": "x", "channels": 1},
        {"augment": {"flop": 1}},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match="video modality"):
        Video("clip", **wrong)


def test_batches_from_a_manifest(tmp_path):
    rows = ["clip,label"]
    for i in range(10):
        (tmp_path / f"{i}.mp4").write_bytes(encoded(shades(3 + i, 16, 16)))
        rows.append(f"{i}.mp4,{'ab'[i % 2]}")
    (tmp_path / "2.mp4").write_bytes((tmp_path / "3.mp4").read_bytes()[:300])
    (tmp_path / "m.csv").write_text("\n".join(rows))
    config = config_lib.check(
        DataConfig(
            source=Spec("csv", path=str(tmp_path / "m.csv")),
            modalities={"video": Spec("video", column="clip", frames=4, size=8)},
            targets={"label": Spec("category", column="label")},
            split=SplitConfig(fractions=(0.6, 0.2, 0.2)),
            batch_size=4,
            on_bad_sample="quarantine",
            threads=0,
        )
    )
    data = prepare(config)
    assert [bad.code for bad in data.quarantine.found] == [423]
    batch, again = (next(data.loader("train", train=True)).inputs["video"] for _ in range(2))
    assert batch["pixel_values"].shape == (4, 4, 8, 8, 3)
    np.testing.assert_array_equal(batch["pixel_values"], again["pixel_values"])


def test_missing_files_are_named(tmp_path):
    table = _table("a.mp4", root=tmp_path)
    with pytest.raises(DataError, match=r"MMX-306.*m\.csv:0:clip"):
        Video("clip").check(table.row(0), Place(table, 0), decode=False)
