"""Columns of feature vectors in time: fields, lengths, normalisation, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.modalities.base import Modality, Place, Processor
from mmjax.data.modalities.sequence import FeatureSequence
from mmjax.data.table import Table

RNG = np.random.default_rng(0)
ARRAYS = [RNG.normal([3.0, -1e4], [2.0, 5.0], (steps, 2)).astype(np.float32) for steps in (5, 9, 3)]


def table(*cells) -> Table:
    return Table(columns={"x": list(cells)}, name="m.csv", fingerprint="f")


def fitted(modality, data, rows=None):
    assert isinstance(modality, Modality)
    found = modality.fit(data, np.arange(len(data)) if rows is None else np.array(rows))
    assert isinstance(found, Processor)
    return found


def example(processor, data, row, rng=None):
    return processor.example(data.row(row), Place(data, row), rng)


def test_normalised_by_the_training_rows_padded_and_masked(tmp_path):
    data = table(ARRAYS[0], ARRAYS[1].tolist(), None, [], ARRAYS[2])
    modality = FeatureSequence("x", max_length=6, lengths=(4,))
    found = fitted(modality, data, [0, 1, 2])
    train = np.concatenate(ARRAYS[:2]).astype(np.float64)
    expected = [(a - train.mean(axis=0)) / train.std(axis=0) for a in ARRAYS]
    assert found.facts == {"mel_bins": 2, "max_frames": 6}
    assert found.padded_lengths == (4, 6)
    np.testing.assert_array_equal(found.lengths(data, np.arange(5)), [5, 6, 0, 0, 3])
    found.save(tmp_path)
    for one in (found, modality.load(tmp_path)):
        batch = one.collate([example(one, data, row) for row in range(5)])
        assert batch["input_features"].shape == (5, 6, 2)
        assert batch["input_features"].dtype == np.float32
        np.testing.assert_array_equal(batch["attention_mask"].sum(axis=1), [5, 6, 0, 0, 3])
        close = {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(batch["input_features"][0, :5], expected[0], **close)
        # Evaluation sees the middle of what is too long.
        np.testing.assert_allclose(batch["input_features"][1], expected[1][2:8], **close)
        np.testing.assert_allclose(batch["input_features"][4, :3], expected[2], **close)
        assert not batch["input_features"][~batch["attention_mask"]].any()
    assert found.collate([example(found, data, 4)], 4)["input_features"].shape == (1, 4, 2)


def test_given_mean_and_deviation_hold_and_none_leaves_values():
    data = table(ARRAYS[0])
    given = fitted(FeatureSequence("x", mean=(1.0, 2.0), std=(4.0, 0.5)), data)
    expected = (ARRAYS[0].astype(np.float64) - [1, 2]) / [4, 0.5]
    np.testing.assert_allclose(example(given, data, 0)["input_features"], expected, rtol=1e-5)
    plain = fitted(FeatureSequence("x", normalize=False), data)
    np.testing.assert_allclose(example(plain, data, 0)["input_features"], ARRAYS[0], rtol=1e-6)
    with pytest.raises(ConfigError, match="2 features a step"):
        fitted(FeatureSequence("x", mean=(1.0,), std=(1.0,)), data)


def test_a_feature_that_never_changes_is_zero_and_one_feature_may_be_flat():
    data = table([[7, 1], [7, 3]], [[7, 5]])
    found = fitted(FeatureSequence("x"), data)
    values = example(found, data, 0)["input_features"]
    np.testing.assert_allclose(values[:, 0], 0)
    np.testing.assert_allclose(values[:, 1], np.array([-2, 0]) / np.std([1, 3, 5]), rtol=1e-6)
    flat = table([1, 2, 3], np.array([4, 5]))
    found = fitted(FeatureSequence("x", normalize=False), flat)
    np.testing.assert_array_equal(example(found, flat, 0)["input_features"], [[1], [2], [3]])


def test_training_cuts_anywhere_and_masks():
    data = table(np.arange(20.0))
    cut = fitted(FeatureSequence("x", max_length=5, normalize=False), data)
    assert cut.random
    starts = set()
    for seed in range(300):
        values = example(cut, data, 0, np.random.default_rng(seed))["input_features"][:, 0]
        np.testing.assert_array_equal(np.diff(values), 1)
        starts.add(int(values[0]))
    assert starts == set(range(16))
    same = FeatureSequence("x", max_length=5, normalize=False, train_part="same")
    same = fitted(same, data)
    assert not same.random
    kept = example(same, data, 0, np.random.default_rng(0))["input_features"][:, 0]
    np.testing.assert_array_equal(kept, np.arange(8, 13) - 0.0)
    start = FeatureSequence("x", max_length=5, normalize=False, evaluate_part="start")
    np.testing.assert_array_equal(
        example(fitted(start, data), data, 0)["input_features"][:, 0], np.arange(5)
    )
    masks = FeatureSequence("x", train_part="same", augment={"time_mask": 10})
    masked = example(fitted(masks, data), data, 0, np.random.default_rng(1))["input_features"]
    assert 1 < np.unique(masked, return_counts=True)[1].max() <= 10


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("1 2 3", 526),
        (b"12", 526),
        (3.0, 526),
        ([[1, 2], [3]], 526),
        ([[1, None]], 526),
        ([["a", "b"]], 526),
        (np.zeros((2, 2, 2)), 526),
        (np.array([[0, 1j]]), 526),
        ([[0.0, float("nan")]], 527),
        ([[0.0, 1e39]], 527),
        ([[1.0, 2.0, 3.0]], 528),
    ],
)
def test_damaged_cells_are_refused_with_their_place(cell, code):
    data = table(ARRAYS[0], cell)
    modality = FeatureSequence("x")
    found = fitted(modality, data, [0])
    with pytest.raises(DataError, match=f"MMX-{code}.*m.csv:1:x"):
        example(found, data, 1)
    with pytest.raises(DataError, match=f"MMX-{code}"):
        modality.fit(data, np.arange(2))
    assert modality.check(data.row(0), Place(data, 0))
    assert not modality.check({"x": None}, Place(data, 0))


def test_settings_are_checked():
    for wrong in (
        {"max_length": 0},
        {"lengths": (200,)},
        {"std": (1.0,)},
        {"mean": (0.0,), "std": (0.0,)},
        {"augment": {"gain": 3}},
    ):
        with pytest.raises(ConfigError, match="MMX-106"):
            FeatureSequence("x", **wrong)
    with pytest.raises(DataError, match="MMX-501"):
        fitted(FeatureSequence("x"), table(None, []))
