"""The processor of a folder against the transformers classes that wrote its files."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest
from transformers import (
    BertTokenizerFast,
    CLIPImageProcessor,
    VideoMAEImageProcessor,
    VivitImageProcessor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.audio_features import LogMel
from mmjax.data.processors import load_processor

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(3)]
SOUNDS = [RNG.normal(0, 0.1, n).astype(np.float32) for n in (4000, 7001)]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "bird", "sings"]


@pytest.fixture
def tokenizer(tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    return BertTokenizerFast(str(tmp_path / "words.txt"), model_max_length=6)


def test_text_and_images(tmp_path, tokenizer):
    pictures = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 12, "width": 12})
    for one in (tokenizer, pictures):
        one.save_pretrained(str(tmp_path / "hub"))
    processor = load_processor(tmp_path / "hub")
    assert processor.feature_extractor is processor.video_processor is None
    assert "tokenizer, image_processor" in repr(processor)
    got = processor(text=["red bird", "sings"], images=PICTURES[:2])
    assert got["input_ids"].tolist() == [[2, 5, 6, 3], [2, 7, 3, 0]]
    assert got["attention_mask"].tolist() == [[True] * 4, [True] * 3 + [False]]
    assert got["token_type_ids"].dtype == got["input_ids"].dtype == np.int32
    want = pictures(PICTURES[:2], return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(got["pixel_values"], want.transpose(0, 2, 3, 1))
    assert got["pixel_values"].dtype == np.float32
    assert got["attention_mask"].dtype == bool


def test_text_is_cut_padded_and_paired(tmp_path, tokenizer):
    tokenizer.save_pretrained(str(tmp_path / "hub"))
    processor = load_processor(str(tmp_path / "hub"))
    assert processor(text="red " * 9)["input_ids"].tolist() == [[2, 5, 5, 5, 5, 3]]
    padded = processor(text="red", max_length=5, padding="max_length")
    assert padded["input_ids"].tolist() == [[2, 5, 3, 0, 0]]
    pair = processor(text="red", text_pair="bird")
    assert pair["input_ids"].tolist() == [[2, 5, 3, 6, 3]]
    assert pair["token_type_ids"].tolist() == [[0, 0, 0, 1, 1]]


def test_one_image_of_any_kind(tmp_path):
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16).save_pretrained(str(tmp_path))
    processor = load_processor(tmp_path)
    array = processor(images=PICTURES[0])["pixel_values"]
    assert array.shape == (1, 16, 16, 3)
    picture = PIL.Image.fromarray(PICTURES[0])
    np.testing.assert_array_equal(processor(images=picture)["pixel_values"], array)
    np.testing.assert_array_equal(processor(images=np.stack(PICTURES))["pixel_values"][:1], array)


def test_waveforms(tmp_path):
    theirs = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    theirs.save_pretrained(str(tmp_path))
    processor = load_processor(tmp_path)
    got = processor(audio=SOUNDS, sampling_rate=16_000)
    want = theirs(SOUNDS, sampling_rate=16_000, padding=True, return_tensors="np")
    np.testing.assert_array_equal(got["input_values"], want["input_values"])
    assert got["attention_mask"].sum(1).tolist() == [4000, 7001]
    assert got["attention_mask"].dtype == bool
    assert processor(audio=SOUNDS[0])["input_values"].shape == (1, 4000)


def test_waveforms_without_a_mask_are_normalised_with_their_padding(tmp_path):
    theirs = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    # Old repositories name no class.
    config = {k: v for k, v in theirs.to_dict().items() if k != "feature_extractor_type"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    got = load_processor(tmp_path)(audio=SOUNDS)
    want = theirs(SOUNDS, sampling_rate=16_000, padding=True, return_tensors="np")
    assert set(got) == {"input_values"}
    np.testing.assert_array_equal(got["input_values"], want["input_values"])


def test_whisper_bands_come_last(tmp_path):
    theirs = WhisperFeatureExtractor(chunk_length=1)
    theirs.save_pretrained(str(tmp_path))
    got = load_processor(tmp_path)(audio=SOUNDS)["input_features"]
    want = theirs(SOUNDS, sampling_rate=16_000, return_tensors="np")["input_features"]
    assert got.shape == (2, 100, 80)
    np.testing.assert_allclose(got, want.transpose(0, 2, 1), atol=1e-5)


def test_the_audio_spectrogram_transformer_needs_no_torch(tmp_path):
    config = {"feature_extractor_type": "ASTFeatureExtractor", "max_length": 30, "num_mel_bins": 32}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    got = load_processor(tmp_path)(audio=SOUNDS)["input_features"]
    bands = LogMel("kaldi", mel_bins=32, mean=-4.2677393, std=2 * 4.5689974)
    assert got.shape == (2, 30, 32)
    np.testing.assert_allclose(got[0, :23], bands(SOUNDS[0]).values, atol=1e-6)
    np.testing.assert_allclose(got[0, 23:], 4.2677393 / (2 * 4.5689974), atol=1e-6)
    np.testing.assert_allclose(got[1], bands(SOUNDS[1]).values[:30], atol=1e-6)


def test_sounds_of_another_rate_are_resampled(tmp_path):
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(str(tmp_path))
    time = np.arange(24_000) / 48_000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    got = load_processor(tmp_path)(audio=tone, sampling_rate=48_000)["input_values"][0]
    assert got.shape == (8000,)
    middle = slice(500, -500)
    np.testing.assert_allclose(got[middle], tone[::3][middle], atol=1e-3)


@pytest.mark.parametrize("made", [VideoMAEImageProcessor, VivitImageProcessor])
def test_videos(tmp_path, made):
    theirs = made(size={"shortest_edge": 14}, crop_size={"height": 12, "width": 12})
    theirs.save_pretrained(str(tmp_path))
    processor = load_processor(tmp_path)
    assert processor.image_processor is None
    want = np.asarray(theirs([PICTURES, PICTURES[::-1]])["pixel_values"]).transpose(0, 1, 3, 4, 2)
    videos = np.stack([PICTURES, PICTURES[::-1]])
    np.testing.assert_allclose(processor(videos=videos)["pixel_values"], want, atol=1e-6)
    one = processor(videos=[PIL.Image.fromarray(picture) for picture in PICTURES])["pixel_values"]
    assert one.shape == (1, 3, 12, 12, 3)
    np.testing.assert_allclose(one, want[:1], atol=1e-6)


def test_a_config_of_a_video_class_that_needs_torch(tmp_path):
    theirs = VideoMAEImageProcessor(size={"shortest_edge": 14}, crop_size=12)
    config = {k: v for k, v in theirs.to_dict().items() if k != "image_processor_type"}
    config["video_processor_type"] = "VideoMAEVideoProcessor"
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(config))
    got = load_processor(tmp_path)(videos=[PICTURES])["pixel_values"]
    want = np.asarray(theirs([PICTURES])["pixel_values"]).transpose(0, 1, 3, 4, 2)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_parts_in_one_file(tmp_path):
    nested = {
        "processor_class": "X",
        "image_processor": CLIPImageProcessor(size={"shortest_edge": 8}, crop_size=8).to_dict(),
        "feature_extractor": Wav2Vec2FeatureExtractor().to_dict(),
    }
    nested["image_processor"]["image_processor_type"] = "CLIPImageProcessorFast"
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    got = load_processor(tmp_path)(images=PICTURES, audio=SOUNDS)
    assert got["pixel_values"].shape == (3, 8, 8, 3)
    assert got["input_values"].shape == (2, 7001)


def test_a_folder_in_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "of_sounds"
    Wav2Vec2FeatureExtractor().save_pretrained(str(package / "hub"))
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert load_processor("package:of_sounds/hub")(audio=SOUNDS)["input_values"].shape == (2, 7001)


def test_saving_copies_the_files(tmp_path, tokenizer):
    hub = tmp_path / "hub"
    tokenizer.save_pretrained(str(hub))
    CLIPImageProcessor().save_pretrained(str(hub))
    (hub / "model.safetensors").write_bytes(b"weights")
    load_processor(hub).save(tmp_path / "out" / "processor")
    names = {path.name for path in hub.iterdir()} - {"model.safetensors"}
    saved = tmp_path / "out" / "processor"
    assert {path.name for path in saved.iterdir()} == names
    assert all((saved / name).read_bytes() == (hub / name).read_bytes() for name in names)
    assert load_processor(saved)(text="red")["input_ids"].tolist() == [[2, 5, 3]]


def test_what_is_absent_is_named(tmp_path, tokenizer):
    assert load_processor(tmp_path / "..") is None
    tokenizer.save_pretrained(str(tmp_path / "hub"))
    processor = load_processor(tmp_path / "hub")
    with pytest.raises(ConfigError, match=r"MMX-111.*no image processor.*hub.*preprocessor_config"):
        processor(images=PICTURES)
    with pytest.raises(ConfigError, match=r"no feature extractor"):
        processor(audio=SOUNDS)
    with pytest.raises(ConfigError, match=r"no video processor"):
        processor(videos=[PICTURES])
    CLIPImageProcessor().save_pretrained(str(tmp_path / "images"))
    with pytest.raises(ConfigError, match=r"MMX-110.*no tokenizer.*tokenizer\.json"):
        load_processor(tmp_path / "images")(text="red")


def test_what_is_damaged_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder"):
        load_processor(tmp_path / "none")
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"MMX-111.*damaged JSON.*preprocessor_config\.json"):
        load_processor(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"feature_extractor_type": "WhisperX"}')
    with pytest.raises(ConfigError, match=r"no audio front end for 'WhisperX'.*valid: AST"):
        _ = load_processor(tmp_path).feature_extractor
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"MMX-110.*does not load"):
        _ = load_processor(tmp_path).tokenizer


def test_what_is_no_waveform(tmp_path):
    Wav2Vec2FeatureExtractor().save_pretrained(str(tmp_path))
    for wrong in (np.zeros((2, 5, 2), np.float32), np.zeros(5, np.int16), np.zeros(0, np.float32)):
        with pytest.raises(DataError, match="MMX-416"):
            load_processor(tmp_path)(audio=wrong)
