"""Inputs made worse: each way against SciPy or its definition, and data sets made of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.data.degraded import MISSING, degrade, kinds_of
from mmjax.data.pipeline import prepare
from mmjax.data.transforms import damage

LEVELS = (0.0, 0.2, 0.5, 0.8, 1.0)


def _rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("severity", [0.05, 0.3, 0.6, 0.9])
def test_blur_is_scipys(severity):
    pixels = np.random.default_rng(0).random((2, 12, 9, 3)).astype(np.float32)
    sigma = 12 / 8 * severity / (1 - severity)
    expected = gaussian_filter(
        pixels.astype(np.float64), (0, sigma, sigma, 0), mode="reflect", truncate=4.0
    )
    np.testing.assert_allclose(damage.blurred(pixels, severity), expected, atol=2e-6)


def test_blur_ends_are_the_picture_and_its_mean():
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_allclose(damage.blurred(pixels, 0.0), pixels / 255, atol=1e-7)
    mean = np.broadcast_to((pixels / 255).mean(axis=(0, 1)), (8, 8, 3))
    np.testing.assert_allclose(damage.blurred(pixels, 1.0), mean, atol=1e-6)
    np.testing.assert_allclose(damage.blurred(pixels, 0.99), mean, atol=2e-3)


def test_full_noise_tells_nothing_of_the_picture():
    black, white = np.zeros((6, 6, 3), np.uint8), np.full((6, 6, 3), 255, np.uint8)
    ends = [damage.noisy_pixels(one, 1.0, _rng()) for one in (black, white)]
    np.testing.assert_array_equal(*ends)
    half = damage.noisy_pixels(white, 0.25, _rng())
    np.testing.assert_allclose(half, 0.75 + 0.25 * ends[0], atol=1e-6)


def test_noise_is_as_loud_as_the_sound():
    sound = 0.3 * np.sin(np.arange(20_000) / 5).astype(np.float32)
    noise = damage.noisy_sound(sound, 1.0, _rng())
    assert np.sqrt((noise**2).mean()) == pytest.approx(0.3 / np.sqrt(2), rel=0.03)
    mixed = damage.noisy_sound(sound, 0.2, _rng())
    np.testing.assert_allclose(mixed, 0.8 * sound + 0.2 * noise, atol=1e-6)
    ratio = np.mean((0.8 * sound) ** 2) / np.mean((mixed - 0.8 * sound) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(20 * np.log10(4), abs=0.3)
    assert not damage.noisy_sound(np.zeros(10, np.float32), 1.0, _rng()).any()


def test_more_severity_takes_away_what_less_has_taken():
    gone = [damage.dropped(10, level, _rng()) for level in LEVELS]
    assert [int(one.sum()) for one in gone] == [0, 2, 5, 8, 10]
    silent = [damage.silenced(np.ones(100, np.float32), level, _rng()) == 0 for level in LEVELS]
    assert [one.mean() for one in silent] == pytest.approx(LEVELS)
    for chain in (gone, silent):
        assert all((a <= b).all() for a, b in itertools.pairwise(chain))


def test_words_go_or_leave_blanks():
    text = "  one two  three\tfour 猫"
    left = damage.fewer_words(text, 0.4, _rng())
    assert set(left.split()) < set(text.split())
    assert len(left.split()) == 3
    blanks = damage.fewer_words(text, 0.4, _rng(), in_place=True)
    assert len(blanks) == len(text)
    assert all(b in (a, " ") for a, b in zip(text, blanks, strict=True))
    assert blanks.split() == left.split()
    assert damage.fewer_words(text, 1.0, _rng()) == ""
    assert damage.fewer_words(text, 0.0, _rng()) == text.strip()


def test_categories_are_swapped_for_known_ones():
    ids = np.array([1, 2, 0, 1], np.int32)
    found = damage.swapped_categories(ids, (4, 3, 5, 2), 1.0, _rng())
    assert (found <= np.array([3, 2, 0, 1])).all()
    assert (found[[0, 1, 3]] >= 1).all()
    assert found[2] == 0
    assert damage.swapped_categories(ids, (4, 3, 5, 2), 0.0, _rng()).tolist() == ids.tolist()


RATE = 8000


def _dataset():
    rng = np.random.default_rng(3)
    rows = 6
    columns = {
        "words": [f"some words of row {i} here" for i in range(rows)],
        "picture": [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(rows)],
        "cry": [rng.normal(0, 0.1, 800).astype(np.float32) for _ in range(rows)],
        "clip": [rng.integers(0, 256, (5, 8, 8, 3), np.uint8) for _ in range(rows)],
        "scan": [rng.normal(size=(4, 5, 5)).astype(np.float32) for _ in range(rows)],
        "radar": [rng.normal(size=(6, 3)).astype(np.float32) for _ in range(rows)],
        "steps": [rng.normal(size=(7, 2)).astype(np.float32) for _ in range(rows)],
        "weight": rng.normal(size=rows).tolist(),
        "size": [None, *rng.normal(size=rows - 1).tolist()],
        "place": ["sea", "land"] * 3,
    }
    modalities = {
        "text": Spec("text", column="words", vocab_size=60, max_length=12, lengths=(6,)),
        "image": Spec("image", columns=("picture",), size=8),
        "audio": Spec("audio", column="cry", sample_rate=RATE, max_seconds=0.1, mel_bins=8),
        "video": Spec("video", column="clip", frames=5, size=8),
        "sequence": Spec("sequence", column="steps", max_length=7),
        "volume": Spec("volume", column="scan", size=(4, 5, 5)),
        "points": Spec("points", column="radar", count=8),
        "table": Spec("table", numbers=("weight", "size"), categories=("place",)),
    }
    config = DataConfig(source=Spec("frame"), modalities=modalities, batch_size=3, threads=1)
    return prepare(config, frame=columns, splits={"train": np.arange(rows)})


@pytest.fixture(scope="module")
def dataset():
    return _dataset()


def _batches(dataset):
    with dataset.loader("all", train=False) as batches:
        return list(batches)


WAYS = [
    (kind, way)
    for kind in ("text", "image", "audio", "video", "sequence", "table", "volume", "points")
    for way in kinds_of(kind)
]
KEPT_AT_FULL = {("image", "noise"), ("image", "blur"), ("video", "noise"), ("video", "blur")}
KEPT_AT_FULL |= {(kind, "noise") for kind in ("audio", "sequence", "table", "volume", "points")}
"""What is all noise in the end, and not gone."""


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_a_way_changes_its_modality_alone_and_no_shape(dataset, name, way):
    plain = _batches(dataset)
    half, again, full = (
        _batches(degrade(dataset, {name: way}, level, seed=4)) for level in (0.6, 0.6, 1.0)
    )
    other = _batches(degrade(dataset, {name: way}, 0.6, seed=5))
    changed = differs = False
    for batches in zip(plain, half, again, full, other, strict=True):
        clean, some, same, whole, seeded = (one.inputs for one in batches)
        for modality, fields in clean.items():
            for field, values in fields.items():
                assert some[modality][field].shape == values.shape == whole[modality][field].shape
                np.testing.assert_array_equal(some[modality][field], same[modality][field])
                if modality == name:
                    changed |= not np.array_equal(some[modality][field], values)
                    differs |= not np.array_equal(some[modality][field], seeded[modality][field])
                else:
                    np.testing.assert_array_equal(some[modality][field], values)
        gone = not batches[3].present[name].any()
        assert gone == ((name, way) not in KEPT_AT_FULL)
    assert changed
    assert differs or way == "blur"


def test_severity_0_is_the_data_set_itself(dataset):
    same = degrade(dataset, {"image": "blur", "text": MISSING}, 0.0, seed=0)
    assert same.modalities == dataset.modalities


def test_full_noise_in_numbers_tells_nothing_of_them(dataset):
    found = _batches(degrade(dataset, {"table": "noise"}, 1.0, seed=0))[0].inputs["table"]
    mask = _batches(dataset)[0].inputs["table"]["number_mask"]
    np.testing.assert_array_equal(found["number_mask"], mask)
    assert not found["numbers"][~mask].any()
    own = dataset.table.columns["weight"]
    assert abs(np.corrcoef(found["numbers"][:, 0], own[:3])[0, 1]) < 1


def test_what_there_is_not_is_named(dataset):
    with pytest.raises(ConfigError, match=r"no modality 'images'.*image"):
        degrade(dataset, {"images": "blur"}, 0.5, seed=0)
    with pytest.raises(ConfigError, match=r"no way 'blurr'.*blur"):
        degrade(dataset, {"image": "blurr"}, 0.5, seed=0)
    with pytest.raises(ConfigError, match=r"severity = 1\.5"):
        degrade(dataset, {"image": "blur"}, 1.5, seed=0)
