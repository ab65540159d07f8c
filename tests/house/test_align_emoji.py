"""The features and the arithmetic of the alignment benchmark, on a few pictures."""

from __future__ import annotations

import numpy as np
import pytest
from package_files import ROOT


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import align_emoji, picture_features

    return align_emoji, picture_features


def test_gradients_and_colours_of_pictures_made_of_one_edge(benchmarks):
    _, features = benchmarks
    pictures = np.zeros((2, 32, 32, 3), np.float32)
    pictures[0, :, 16:] = 1  # the grey changes along x, so the gradient's direction is 0
    pictures[1, 16:] = (1, 0, 0)  # along y: half way round
    found = features.gradients(pictures, 8, bins=2).reshape(2, 4, 4, 2)
    on_edge = found[0, :, 1:3, 0], found[1, 1:3, :, 1]
    for cells, grey in zip(on_edge, (1.0, 1 / 3), strict=True):
        mean = grey / 8  # one line in eight has the gradient
        np.testing.assert_allclose(cells, mean / np.sqrt(mean**2 + 1e-3), rtol=1e-6)
    assert np.count_nonzero(found > 1e-6) == 16
    shares = features.colours(pictures, levels=2, cell=16).reshape(2, 2, 2, 8) ** 2
    assert shares[0, :, 0, 0].tolist() == shares[0, :, 1, 7].tolist() == [1, 1]
    assert shares[1, 1, :, 4].tolist() == shares[1, 0, :, 0].tolist() == [1, 1]


def test_patches_tell_pictures_apart(benchmarks):
    _, features = benchmarks
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(32) * 1.5)[:, None, None] * np.ones((1, 32, 3))
    pictures = np.stack([waves, waves.swapaxes(0, 1)] * 4) + 0.05 * rng.normal(size=(8, 32, 32, 3))
    made = features.Patches(pictures, side=6, count=8, seed=0, sampled=2000, rounds=5)
    found = made(pictures, grid=2)
    assert found.shape == (8, 32)
    assert (found >= 0).all()
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[0, 2] > 0.95 > 0.8 > likeness[0, 1]


def test_chosen_on_validation_and_measured_on_test(benchmarks, monkeypatch):
    """Words that follow from the pictures are found; others by chance."""
    align, _ = benchmarks
    rng = np.random.default_rng(1)
    split = np.array(["train"] * 60 + ["validation"] * 20 + ["test"] * 30)
    things = rng.normal(size=(len(split), 5))
    drawn = np.concatenate([things, things + 0.05 * rng.normal(size=things.shape)])
    monkeypatch.setattr(align, "picture_features", lambda pictures, *_, seed: {"all": pictures})
    texts = {
        "good": {"noise": rng.normal(size=(110, 4)), "true": things @ rng.normal(size=(5, 4))},
        "none": {"noise": rng.normal(size=(110, 4))},
    }
    good, none = align.measure(drawn, texts, split, seed=0)
    assert (good["chosen"], none["chosen"]) == ("true", "noise")
    assert set(good["test"]) == {"twemoji", "noto", "both drawings"}
    assert min(good["test"].values()) > 0.9
    assert max(none["test"].values()) < 0.6  # chance is a third
    summary = align.summarise([good, {**good, "seed": 1}, none])
    assert summary["good"]["noto"] == {"mean": good["test"]["noto"], "std": 0.0}
    assert summary["none"]["noto"]["std"] is None
    about = {"cores": 2, "cpu": "a cpu", "python": "3", "date": "today", "seeds": [0, 1]}
    table = align.to_markdown({**about, "runs": [good, none], "summary": summary})
    assert f"| good | {good['test']['twemoji']:.3f} ± 0.000 |" in table
