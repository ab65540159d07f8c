"""The arithmetic of the benchmark that leaves each person out."""

from __future__ import annotations

import numpy as np
import pytest
from package_files import ROOT


@pytest.fixture
def smartwatch(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import smartwatch

    return smartwatch


def test_a_recording_is_what_its_windows_say_together(smartwatch):
    chances = np.array([[0.6, 0.4], [0.1, 0.9], [0.9, 0.1], [0.4, 0.6]])
    labels, recordings = np.array([1, 1, 0, 0]), np.array([7, 7, 3, 4])
    # 0.6 * 0.1 < 0.4 * 0.9.
    assert smartwatch.of_recordings(chances, labels, recordings) == (2, 3)


def test_means_are_of_persons_and_spreads_of_whole_seeds(smartwatch):
    runs = [
        {
            "seed": seed,
            "person": person,
            "accuracy": person / 10 - seed / 10,
            "recordings_right": 12,
            "recordings": 16,
            "cpu_seconds": 5.0,
        }
        for seed in (0, 1, 2)
        for person in smartwatch.PERSONS
        if (seed, person) != (2, 9)
    ]
    found = smartwatch.summarise(runs)
    assert list(found["seeds"]) == ["0", "1"]
    assert found["windows"]["mean"] == pytest.approx(0.5)
    assert found["windows"]["std"] == pytest.approx(np.std([0.55, 0.45], ddof=1))
    assert found["windows_of_seven"]["mean"] == pytest.approx(0.7 - 0.05)
    assert found["persons"]["9"]["windows"] == pytest.approx(0.85)
    about = {"cores": 2, "cpu": "a cpu", "versions": {"jax": "1"}, "python": "3", "date": "today"}
    text = smartwatch.to_markdown({**about, "summary": found, "runs": runs, "linear": {"a": 0.5}})
    assert "| mean of ten | 0.500 ± 0.071 | 0.750 ± 0.000 |" in text
    assert "| 3 (settings chosen on) | 0.200 | 0.750 |" in text
    assert "| linear, a | | 0.500 |" in text
    assert "whole seeds: 0, 1; 29 trainings of 5 processor seconds" in text


def test_features_are_means_deviations_and_correlations(smartwatch):
    readings = np.random.default_rng(0).normal(size=(60, 6)) * np.arange(1, 7)
    found = smartwatch.rich(readings)
    np.testing.assert_allclose(found[:6], readings.mean(axis=0))
    np.testing.assert_allclose(found[6:12], readings.std(axis=0))
    assert len(found) == 12 + 30 + 15 + 3 * 36
    own = (readings - readings.mean(axis=0)) / readings.std(axis=0)
    np.testing.assert_allclose(found[-1], (own[25:, 5] * own[:-25, 5]).sum() / 60)
