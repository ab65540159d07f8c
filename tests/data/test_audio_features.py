"""Log-mel bands, cepstra and waveforms against transformers' extractors and SciPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.signal
from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor, audio_utils

from mmjax.data import spectrogram
from mmjax.data.audio_features import LogMel, standardize

RATE = 16_000
AST_MEAN, AST_STD = -4.2677393, 4.5689974


def _sound(samples: int, seed: int = 0) -> np.ndarray:
    """A chord whose loudness changes, and a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220, 331.5, 1870, 6400))
    loud = 0.05 + 0.1 * np.sin(2 * np.pi * 0.7 * time) ** 2
    return (loud * tones + 0.003 * rng.normal(size=samples)).astype(np.float32)


@pytest.mark.parametrize("mel_bins", [80, 128])
@pytest.mark.parametrize("samples", [1, 199, 400, 16_001, 31_777, 31_990, 32_000])
def test_whisper(mel_bins, samples):
    theirs = WhisperFeatureExtractor(feature_size=mel_bins, chunk_length=2)
    sound = _sound(samples)
    want = theirs(sound, sampling_rate=RATE, return_tensors="np", return_attention_mask=True)
    got = LogMel(mel_bins=mel_bins)(sound, 2 * RATE)
    padded = np.full((200, mel_bins), got.silence)
    padded[: len(got.values)] = got.values
    np.testing.assert_allclose(padded, want["input_features"][0].T, atol=1e-6)
    assert got.frames == want["attention_mask"].sum()
    assert got.values.dtype == np.float32


def test_whisper_pads_to_thirty_seconds():
    sound = _sound(40_000)
    want = WhisperFeatureExtractor()(sound, sampling_rate=RATE, return_tensors="np")
    got = LogMel()(sound, 30 * RATE)
    assert want["input_features"].shape == (1, 80, 3000)
    np.testing.assert_allclose(got.values, want["input_features"][0].T[:252], atol=1e-6)
    np.testing.assert_allclose(want["input_features"][0].T[252:], got.silence, atol=1e-6)


def _kaldi(sound: np.ndarray, mel_bins: int) -> np.ndarray:
    """What `ASTFeatureExtractor` calls where torchaudio is not installed."""
    filters = audio_utils.mel_filter_bank(
        257, mel_bins, 20, 8000, RATE, None, "kaldi", triangularize_in_mel_space=True
    )
    return audio_utils.spectrogram(
        sound,
        audio_utils.window_function(400, "hann", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=1.192092955078125e-07,
        remove_dc_offset=True,
    ).T


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("mel_bins", [24, 128])
@pytest.mark.parametrize("samples", [400, 559, 560, 20_011])
def test_audio_spectrogram_transformer(mel_bins, samples):
    sound = _sound(samples)
    got = LogMel("kaldi", mel_bins=mel_bins, mean=AST_MEAN, std=2 * AST_STD)(sound)
    want = (_kaldi(sound, mel_bins) - AST_MEAN) / (2 * AST_STD)
    assert got.frames == len(want) == 1 + (samples - 400) // 160
    np.testing.assert_allclose(got.values, want, atol=1e-6)
    assert got.silence == pytest.approx(-AST_MEAN / (2 * AST_STD))


def test_standardized_waveforms_are_those_of_wav2vec2_under_a_mask():
    sounds = [_sound(n, n) for n in (1, 700, 2500)] + [np.zeros(900, np.float32)]
    theirs = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    want = theirs(sounds, sampling_rate=RATE, padding=True, return_tensors="np")["input_values"]
    for sound, row in zip(sounds, want, strict=True):
        got = standardize(sound)
        np.testing.assert_allclose(got, row[: len(sound)], atol=1e-5)
        assert got.dtype == np.float32
    assert not standardize(sounds[-1]).any()


@pytest.mark.parametrize("scale", ["slaney", "htk", "kaldi"])
def test_filters(scale):
    norm = "slaney" if scale == "slaney" else None
    want = audio_utils.mel_filter_bank(
        201, 40, 50.0, 7600.0, RATE, norm, scale, triangularize_in_mel_space=scale == "kaldi"
    )
    got = spectrogram.mel_filters(400, 40, RATE, 50.0, 7600.0, scale)
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("scale", ["slaney", "htk", "kaldi"])
def test_mels_are_undone(scale):
    hertz = np.linspace(0, 8000, 101)
    back = spectrogram.mel_to_hertz(spectrogram.hertz_to_mel(hertz, scale), scale)
    np.testing.assert_allclose(back, hertz, atol=1e-9)


def test_power_is_that_of_scipy():
    sound = _sound(5000).astype(np.float64)
    window = spectrogram.hann(400, periodic=True)
    np.testing.assert_allclose(window, scipy.signal.get_window("hann", 400), atol=1e-15)
    got = spectrogram.power_mel(sound, np.eye(257), window, hop=160, fft=512)
    transform = scipy.signal.ShortTimeFFT(window, 160, RATE, mfft=512)
    frames = [sound[i : i + 400] * window for i in range(0, 5000 - 399, 160)]
    want = np.abs(scipy.fft.rfft(frames, 512)) ** 2
    assert transform.f_pts == got.shape[1]
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_frames_done_in_parts_are_those_done_at_once(monkeypatch):
    sound = _sound(9000)
    whole = LogMel("kaldi")(sound).values
    monkeypatch.setattr(spectrogram, "_AT_ONCE", 512 * 7)
    np.testing.assert_allclose(LogMel("kaldi")(sound).values, whole, atol=1e-6)


def test_cepstra_are_scipys_cosine_transform():
    sound = _sound(12_345)
    got = LogMel(mel_bins=40).cepstra(sound, 13)
    # _kaldi returns float32, whose rounding the sum over bands adds up.
    want = scipy.fft.dct(_kaldi(sound, 40).astype(np.float64), type=2, norm="ortho", axis=1)[:, :13]
    np.testing.assert_allclose(got.values, want, rtol=1e-5, atol=1e-4)
    assert (got.frames, got.silence) == (len(want), 0)
    matrix = spectrogram.cosines(40, 40)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(40), atol=1e-12)


@pytest.mark.parametrize("style", ["whisper", "kaldi"])
def test_silence_and_very_short_sounds_are_finite(style):
    for sound in (np.zeros(16_000), np.zeros(3), np.ones(800), np.array([0.5])):
        for made in (LogMel(style)(sound), LogMel(style).cepstra(sound, 12)):
            assert np.isfinite(made.values).all()
            assert made.frames >= 1
            assert len(made.values) >= made.frames


@pytest.mark.parametrize("style", ["whisper", "kaldi"])
def test_frames_and_samples_agree(style):
    front = LogMel(style)
    for frames in (1, 2, 100, 1024):
        samples = front.samples(frames)
        assert front.frames(samples) == frames
        assert front.frames(samples + 1) == frames + (style == "whisper")
        assert front(_sound(samples), samples).frames == frames
    assert front.frames(0) == 0
