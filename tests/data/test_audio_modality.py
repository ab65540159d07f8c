"""Columns of sounds: fields, lengths, processors and augmentation."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest
import soundfile
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.audio_features import LogMel, standardize
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.modalities.audio import Audio
from mmjax.data.modalities.base import Modality, Place, Processor
from mmjax.data.pipeline import prepare
from mmjax.data.table import Table
from mmjax.data.transforms import sounds

RATE = 16_000


def _sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def _encoded(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def _table(*cells, root=None) -> Table:
    return Table(columns={"sound": list(cells)}, name="m.csv", fingerprint="f", root=root)


def _fitted(modality: Audio, table: Table):
    assert isinstance(modality, Modality)
    fitted = modality.fit(table, np.arange(len(table)))
    assert isinstance(fitted, Processor)
    return fitted


def _example(processor, table, row=0, rng=None):
    return processor.example(table.row(row), Place(table, row), rng)


def test_waveforms_are_padded_and_masked():
    cells = [_sound(5000), _encoded(_sound(9000, 1)), None, " "]
    table = _table(*cells)
    fitted = _fitted(Audio("sound", features="waveform", max_seconds=0.5), table)
    assert fitted.facts == {"sample_rate": RATE, "max_samples": 8000}
    batch = fitted.collate([_example(fitted, table, i) for i in range(4)])
    assert set(batch) == {"input_values", "attention_mask"}
    assert batch["input_values"].shape == (4, 8000)
    assert batch["input_values"].dtype == np.float32
    np.testing.assert_allclose(batch["input_values"][0, :5000], standardize(_sound(5000)))
    middle = _sound(9000, 1)[500:8500]
    np.testing.assert_allclose(batch["input_values"][1], standardize(middle), atol=1e-6)
    assert batch["attention_mask"].sum(1).tolist() == [5000, 8000, 0, 0]
    assert not batch["input_values"][0, 5000:].any()
    assert not batch["input_values"][2:].any()


@pytest.mark.parametrize("style", ["whisper", "kaldi"])
def test_bands_do_not_depend_on_how_far_they_are_padded(style):
    table = _table(_sound(5000), np.zeros(3000, np.float32), None)
    settings = Audio("sound", style=style, mel_bins=24, max_seconds=1, lengths=(0.5, 0.25))
    fitted = _fitted(settings, table)
    lengths = {"whisper": (25, 50, 100), "kaldi": (23, 48, 98)}[style]
    assert fitted.padded_lengths == lengths
    assert fitted.facts == {"sample_rate": RATE, "mel_bins": 24, "max_frames": lengths[-1]}
    examples = [_example(fitted, table, i) for i in range(3)]
    long, short = (fitted.collate(examples, length) for length in (None, lengths[1]))
    assert long["input_features"].shape == (3, lengths[-1], 24)
    for field in short:
        np.testing.assert_array_equal(long[field][:, : lengths[1]], short[field])
    frames = 32 if style == "whisper" else 29
    assert long["attention_mask"].sum(1).tolist()[0] == frames
    want = LogMel(style, mel_bins=24)(_sound(5000))
    np.testing.assert_allclose(long["input_features"][0, : len(want.values)], want.values)
    np.testing.assert_allclose(long["input_features"][0, -1], want.silence)
    assert np.isfinite(long["input_features"]).all()
    assert not long["input_features"][2].any()


def test_lengths_are_read_from_headers():
    rows = [_encoded(_sound(8000)), _encoded(_sound(4000), 8000), None, _sound(400), _sound(90_000)]
    table = _table(*rows)
    fitted = _fitted(Audio("sound", features="waveform", max_seconds=2, lengths=(1,)), table)
    found = fitted.lengths(table, np.arange(5))
    assert found.tolist() == [8000, 8000, 0, 400, 32_000]
    for i in (0, 1, 3, 4):
        assert abs(len(_example(fitted, table, i)["values"]) - found[i]) <= 1


def test_cepstra():
    table = _table(_sound(5000))
    fitted = _fitted(Audio("sound", features="mfcc", mel_bins=26, coefficients=13), table)
    assert fitted.facts["mel_bins"] == 13
    assert fitted.facts["max_frames"] == 998
    batch = fitted.collate([_example(fitted, table)])
    want = LogMel(mel_bins=26).cepstra(_sound(5000), 13)
    np.testing.assert_allclose(batch["input_features"][0, :29], want.values)
    assert batch["attention_mask"].sum() == 29


def test_whisper_from_its_folder(tmp_path):
    theirs = WhisperFeatureExtractor(feature_size=128, chunk_length=2)
    theirs.save_pretrained(str(tmp_path / "hub"))
    cells = [_sound(20_000), _sound(32_000, 1), _sound(50_000, 2)]
    table = _table(*cells)
    modality = Audio("sound", processor=str(tmp_path / "hub"), evaluate_part="start")
    fitted = _fitted(modality, table)
    fitted.save(tmp_path / "saved")
    want = theirs(cells, sampling_rate=RATE, return_tensors="np", return_attention_mask=True)
    for processor in (fitted, modality.load(tmp_path / "saved")):
        assert processor.facts == {"sample_rate": RATE, "mel_bins": 128, "max_frames": 200}
        batch = processor.collate([_example(processor, table, i) for i in range(3)])
        got = batch["input_features"].transpose(0, 2, 1)
        np.testing.assert_allclose(got, want["input_features"], atol=1e-5)
        assert np.array_equal(batch["attention_mask"], want["attention_mask"])


def test_wav2vec2_from_its_folder(tmp_path):
    theirs = Wav2Vec2FeatureExtractor(sampling_rate=8000, return_attention_mask=True)
    theirs.save_pretrained(str(tmp_path))
    cells = [_sound(2000), _sound(3001, 1)]
    table = _table(*({"array": cell, "sampling_rate": 8000} for cell in cells))
    fitted = _fitted(Audio("sound", processor=str(tmp_path), max_seconds=0.5), table)
    assert fitted.facts == {"sample_rate": 8000, "max_samples": 4000}
    batch = fitted.collate([_example(fitted, table, i) for i in range(2)])
    want = theirs(
        cells, sampling_rate=8000, padding="max_length", max_length=4000, return_tensors="np"
    )
    np.testing.assert_allclose(batch["input_values"], want["input_values"], atol=1e-5)
    assert np.array_equal(batch["attention_mask"], want["attention_mask"])


def test_the_audio_spectrogram_transformer_from_its_folder(tmp_path):
    config = {
        "feature_extractor_type": "ASTFeatureExtractor",
        "num_mel_bins": 32,
        "max_length": 40,
        "mean": -3.0,
        "std": 2.5,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    table = _table(_sound(3000), _sound(20_000, 1))
    fitted = _fitted(Audio("sound", processor=str(tmp_path), evaluate_part="start"), table)
    assert fitted.facts == {"sample_rate": RATE, "mel_bins": 32, "max_frames": 40}
    batch = fitted.collate([_example(fitted, table, i) for i in range(2)])
    bands = LogMel("kaldi", mel_bins=32)
    first = (bands(_sound(3000)).values + 3.0) / 5.0
    np.testing.assert_allclose(batch["input_features"][0, :17], first, atol=1e-6)
    np.testing.assert_allclose(batch["input_features"][0, 17:], 3.0 / 5.0, atol=1e-6)
    second = (bands(_sound(20_000, 1)).values[:40] + 3.0) / 5.0
    np.testing.assert_allclose(batch["input_features"][1], second, atol=1e-6)
    assert batch["attention_mask"].sum(1).tolist() == [17, 40]


def test_no_extractor_is_named(tmp_path):
    def refused(said):
        with pytest.raises(ConfigError, match=f"MMX-111.*{said}"):
            _fitted(Audio("sound", processor=str(tmp_path / "hub")), _table(_sound(10)))

    refused("there is no folder")
    (tmp_path / "hub").mkdir()
    refused("no feature extractor")
    file = tmp_path / "hub" / "preprocessor_config.json"
    file.write_text('{"image_processor_type": "X"}')
    refused("no feature extractor")
    file.write_text('{"feature_extractor_type": "ClapFeatureExtractor"}')
    refused("no audio front end for 'ClapFeatureExtractor'.*valid: AST")
    file.write_text('{"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": "long"}')
    refused("wrong values")
    file.write_text('{"feature_extractor_type": "WhisperFeatureExtractor", "dither": 0.1}')
    refused("dither")


def test_training_takes_any_part_and_evaluation_one():
    ramp = np.arange(40_000, dtype=np.float32) / 40_000
    table = _table(ramp)
    settings = Audio("sound", features="waveform", normalize=False, max_seconds=0.5)
    fitted = _fitted(settings, table)
    assert fitted.random
    starts = [
        _example(fitted, table, 0, np.random.default_rng(i))["values"][0, 0] * 40_000
        for i in range(200)
    ]
    assert min(starts) < 1500
    assert max(starts) > 30_500
    assert abs(np.mean(starts) - 16_000) < 2500
    assert _example(fitted, table)["values"][0, 0] * 40_000 == pytest.approx(16_000, abs=0.1)
    same = _fitted(Audio("sound", train_part="same", evaluate_part="start"), table)
    assert not same.random


def test_augmentation_happens_in_training_alone():
    table = _table(_sound(RATE))
    augment = {"noise": 10, "gain": 6, "shift": 0.2, "time_mask": 20, "frequency_mask": 8}
    fitted = _fitted(Audio("sound", max_seconds=1, augment=augment), table)
    plain = _fitted(Audio("sound", max_seconds=1), table)
    evaluated = _example(fitted, table)["values"]
    np.testing.assert_array_equal(evaluated, _example(plain, table)["values"])
    trained = [_example(fitted, table, 0, np.random.default_rng(i))["values"] for i in (0, 0, 1)]
    np.testing.assert_array_equal(trained[0], trained[1])
    assert not np.array_equal(trained[0], trained[2])
    assert not np.array_equal(trained[0], evaluated)


def test_processors_reach_worker_processes(tmp_path):
    WhisperFeatureExtractor(chunk_length=1).save_pretrained(str(tmp_path))
    table = _table(_sound(9000))
    augment = {"noise": 10, "time_mask": 20}
    fitted = _fitted(Audio("sound", processor=str(tmp_path), augment=augment), table)
    sent = pickle.loads(pickle.dumps(fitted))
    here, there = (_example(one, table, 0, np.random.default_rng(3)) for one in (fitted, sent))
    assert all(np.array_equal(here[field], there[field]) for field in here)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 10},
        {"max_seconds": 0.0},
        {"lengths": (20.0,)},
        {"mel_bins": 0},
        {"hop_seconds": 0.0},
        {"std": 0.0},
        {"features": "mfcc", "coefficients": 81},
        {"features": "waveform", "augment": {"time_mask": 3}},
        {"augment": {"nois": 3}},
        {"augment": {"noise": {"loudest": 3}}},
        {"augment": {"gain": -1}},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ConfigError, match="audio modality"):
        Audio("sound", **wrong)


def test_damaged_sounds_are_found_by_checking(tmp_path):
    whole = _encoded(_sound(60_000))
    broken = _sound(60_000)
    broken[-1] = np.nan
    (tmp_path / "a.wav").write_bytes(whole)
    table = _table("a.wav", _encoded(broken), "b.wav", None, root=tmp_path)
    audio = Audio("sound", max_seconds=1)

    def check(row, decode):
        return audio.check(table.row(row), Place(table, row), decode=decode)

    assert check(0, True)
    assert check(0, False)
    assert check(1, False)
    assert not check(3, True)
    with pytest.raises(DataError, match=r"MMX-415.*m\.csv:1:sound"):
        check(1, True)
    with pytest.raises(DataError, match=r"MMX-306.*m\.csv:2:sound"):
        check(2, False)


def test_batches_from_a_manifest(tmp_path):
    rows = ["sound,label"]
    for i in range(12):
        (tmp_path / f"{i}.wav").write_bytes(_encoded(_sound(4000 + 500 * i, i)))
        rows.append(f"{i}.wav,{'ab'[i % 2]}")
    (tmp_path / "2.wav").write_bytes(b"RIFF")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    config = config_lib.from_json(
        DataConfig,
        config_lib.to_json(
            DataConfig(
                source=Spec("csv", path=str(tmp_path / "m.csv")),
                modalities={
                    "audio": Spec(
                        "audio", column="sound", mel_bins=16, max_seconds=0.5, lengths=(0.3,)
                    )
                },
                targets={"label": Spec("category", column="label")},
                split=SplitConfig(fractions=(0.6, 0.2, 0.2)),
                batch_size=4,
                on_bad_sample="quarantine",
                threads=0,
            )
        ),
    )
    data = prepare(config)
    assert [bad.code for bad in data.quarantine.found] == [414]
    assert data.facts["modalities"]["audio"]["max_frames"] == 50
    batch = next(data.loader("train", train=True))
    assert batch.inputs["audio"]["input_features"].shape[0] == 4
    assert batch.inputs["audio"]["input_features"].shape[1] in (30, 50)
    assert batch.present["audio"].all()
    again = next(data.loader("train", train=True))
    np.testing.assert_array_equal(
        batch.inputs["audio"]["input_features"], again.inputs["audio"]["input_features"]
    )


# --- transforms -----------------------------------------------------------------------------------


class _Fixed:
    """A generator that gives the numbers it was made with."""

    def __init__(self, *values):
        self._values = list(values)

    def random(self, size=None):
        return self._values.pop(0) if size is None else np.array(self._values.pop(0))

    def integers(self, low, high):
        return low + int(self._values.pop(0) * (high - low))

    def standard_normal(self, count, dtype):
        return np.random.default_rng(5).standard_normal(count, dtype=dtype)


def test_shift_moves_and_fills_with_silence():
    wave = np.arange(1, 11, dtype=np.float32)
    right = sounds.shift(wave, _Fixed(0.99), 0.3)
    assert right.tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]
    left = sounds.shift(wave, _Fixed(0.0), 0.3)
    assert left.tolist() == [4, 5, 6, 7, 8, 9, 10, 0, 0, 0]
    assert sounds.shift(wave, _Fixed(0.5), 0.3).tolist() == wave.tolist()
    assert sounds.shift(wave[:0], _Fixed(0.5), 0.3).size == 0


def test_gain_is_in_decibels():
    wave = _sound(100)
    np.testing.assert_allclose(sounds.gain(wave, _Fixed(1.0), 20), wave * 10, rtol=1e-6)
    np.testing.assert_allclose(sounds.gain(wave, _Fixed(0.25), 12), wave * 10**-0.3, rtol=1e-6)


def test_noise_has_the_ratio_asked_for():
    wave = _sound(5000)
    for ratio, draw in ((10.0, 0.0), (15.0, 0.5), (20.0, 1.0)):
        noisy = sounds.noise(wave, _Fixed([0.0, draw]), 10, 20)
        added = noisy.astype(np.float64) - wave
        got = 10 * np.log10(np.mean(wave.astype(np.float64) ** 2) / np.mean(added**2))
        assert got == pytest.approx(ratio, abs=1e-3)
    assert np.array_equal(sounds.noise(wave, _Fixed([0.6, 0.0]), 10, 20, 0.5), wave)
    silence = np.zeros(100, np.float32)
    assert np.array_equal(sounds.noise(silence, _Fixed([0.0, 0.0]), 10), silence)


def test_masks_cover_what_they_drew():
    bands = np.random.default_rng(0).random((20, 8), np.float32)
    masked = sounds.time_mask(bands, _Fixed([[0.99, 0.5]]), 5)
    hidden = np.flatnonzero((masked != bands).any(1))
    assert hidden.tolist() == [8, 9, 10, 11, 12]
    np.testing.assert_allclose(masked[hidden], bands.mean(), rtol=1e-6)
    masked = sounds.frequency_mask(bands, _Fixed([[0.5, 0.0], [0.99, 0.99]]), 3, masks=2)
    assert np.flatnonzero((masked != bands).any(0)).tolist() == [0, 1, 5, 6, 7]
    capped = sounds.time_mask(bands, _Fixed([[0.99, 0.0]]), 50, share=0.1)
    assert np.flatnonzero((capped != bands).any(1)).tolist() == [0, 1]
    assert np.array_equal(sounds.time_mask(bands, _Fixed([[0.0, 0.3]]), 5), bands)


def test_mask_widths_and_places_are_uniform():
    rng = np.random.default_rng(0)
    bands = np.arange(60, dtype=np.float32).reshape(60, 1) - 29.25
    widths = np.zeros(5)
    for _ in range(2000):
        widths[int((sounds.time_mask(bands, rng, 4) != bands).sum())] += 1
    assert abs(widths - 400).max() < 80
