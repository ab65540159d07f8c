"""Changes of sensor readings: what each keeps, and where they come in a sequence."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.data.modalities.base import Place
from mmjax.data.modalities.sequence import FeatureSequence
from mmjax.data.table import Table
from mmjax.data.transforms.readings import AugmentReadings, jitter, rotation, scale, time_warp

READINGS = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)


def _rng():
    return np.random.default_rng(3)


def test_rotation_keeps_lengths_and_angles_and_turns_all_vectors_alike():
    turned = rotation(READINGS, _rng(), 40.0)
    before, after = (one[:, :6].reshape(-1, 3).astype(np.float64) for one in (READINGS, turned))
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-5)
    matrix = np.linalg.lstsq(before, after, rcond=None)[0]
    assert np.linalg.det(matrix) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(turned[:, 6], READINGS[:, 6])
    np.testing.assert_allclose(rotation(READINGS, _rng(), 0.0), READINGS, atol=1e-6)
    angles = []
    for seed in range(200):
        one = rotation(np.eye(3, dtype=np.float32), np.random.default_rng(seed), 10.0)
        angles.append(np.degrees(np.arccos(np.clip((np.trace(one) - 1) / 2, -1, 1))))
    assert np.sqrt(np.mean(np.square(angles))) == pytest.approx(10.0, rel=0.15)


def test_scale_jitter_and_time_warp():
    ratio = scale(READINGS, _rng(), 0.3) / READINGS
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    long = np.tile(READINGS, (40, 1)) * np.arange(1, 8, dtype=np.float32)
    noise = (jitter(long, _rng(), 0.1) - long).std(axis=0) / long.std(axis=0)
    np.testing.assert_allclose(noise, 0.1, rtol=0.1)
    line = np.linspace(0, 1, 60, dtype=np.float32)[:, None] * [1, -2]
    warped = time_warp(line.astype(np.float32), _rng(), 0.4)
    np.testing.assert_allclose(warped[[0, -1]], line[[0, -1]], atol=1e-6)
    np.testing.assert_allclose(warped[:, 1], -2 * warped[:, 0], atol=1e-6)
    speed = np.diff(warped[:, 0])
    assert (speed > 0).all()
    assert speed.max() > 1.2 * speed.min()
    np.testing.assert_array_equal(time_warp(READINGS[:1], _rng(), 0.4), READINGS[:1])


def test_a_sequence_is_changed_in_its_own_units_and_in_training_alone():
    table = Table({"x": [100 + READINGS[:, :6]]}, "m", "f")
    modality = FeatureSequence("x", augment={"rotation": 30, "time_mask": 5}, train_part="same")
    fitted = modality.fit(table, np.arange(1))
    place = Place(table, 0)
    plain = fitted.example(table.row(0), place, None)["input_features"]
    trained = fitted.example(table.row(0), place, np.random.default_rng(0))["input_features"]
    np.testing.assert_allclose(plain.mean(axis=0), 0, atol=1e-3)
    # Turned about the origin, and not about the mean.
    assert np.abs(trained.mean(axis=0)).max() > 3
    chain = AugmentReadings({"scale": 0.1, "time_mask": 3})
    np.testing.assert_array_equal(chain(READINGS, _rng()), scale(READINGS, _rng(), 0.1))
    with pytest.raises(ConfigError, match="'rotation' has no strength 'angle'"):
        FeatureSequence("x", augment={"rotation": {"angle": 3}})
    with pytest.raises(ConfigError, match="augment"):
        FeatureSequence("x", augment={"time_warp": 0.1}, step_seconds=0.1)
