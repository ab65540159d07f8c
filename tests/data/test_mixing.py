"""Mixup and CutMix against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.data.transforms.mixing import cutmix, mixup, one_hot

LABELS = one_hot(np.arange(64) % 4, 4)


def test_one_hot():
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def _ids(*shape: int) -> np.ndarray:
    """Pictures whose pixels all are the number of their row."""
    return np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None, None], (64, *shape))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_mixes_pixels_and_labels_in_the_same_shares(alpha):
    pixels = np.random.default_rng(1).normal(size=(64, 6, 5, 3)).astype(np.float32)
    mixed, soft = mixup(pixels, LABELS, np.random.default_rng(0), alpha=alpha)
    # The same draws again, from NumPy's generator.
    rng = np.random.default_rng(0)
    partner, share = rng.permutation(64), rng.beta(alpha, alpha, 64)
    for i in range(64):
        want = share[i] * pixels[i] + (1 - share[i]) * pixels[partner[i]]
        np.testing.assert_allclose(mixed[i], want, atol=1e-6)
        label = share[i] * LABELS[i] + (1 - share[i]) * LABELS[partner[i]]
        np.testing.assert_allclose(soft[i], label, atol=1e-6)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    assert mixed.dtype == soft.dtype == np.float32
    videos = pixels.reshape(64, 2, 3, 5, 3)
    again, _ = mixup(videos, LABELS, np.random.default_rng(0), alpha=alpha)
    np.testing.assert_array_equal(again.reshape(mixed.shape), mixed)


def test_cutmix_replaces_one_box_and_mixes_labels_by_area():
    pixels = _ids(20, 30, 1)
    mixed, soft = cutmix(pixels, LABELS, np.random.default_rng(0))
    boxes = 0
    for i in range(64):
        other = mixed[i, ..., 0] != i
        if not other.any():
            np.testing.assert_allclose(soft[i].max(), soft[i].sum(), atol=0.2)
            continue
        (partner,) = np.unique(mixed[i, ..., 0][other]).astype(int)
        rows, columns = np.flatnonzero(other.any(1)), np.flatnonzero(other.any(0))
        assert other[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        kept = 1 - other.mean()
        want = kept * LABELS[i] + (1 - kept) * LABELS[partner]
        np.testing.assert_allclose(soft[i], want, atol=1e-6)
        boxes += 1
    assert boxes > 50
    assert np.array_equal(pixels, _ids(20, 30, 1)), "the input is left as it was"


def test_the_area_that_cutmix_keeps():
    shares = []
    for seed in range(40):
        mixed, _ = cutmix(_ids(40, 40, 1), LABELS, np.random.default_rng(seed))
        own = np.arange(64)[:, None, None]
        shares.extend((mixed[..., 0] == own).mean((1, 2)).tolist())
    # A box of side r about a uniform centre covers r - r^2 / 4 of each axis; the mean of its square
    # over a uniform area r^2 is 77 / 240. One row of 64 is its own partner.
    assert np.mean(shares) == pytest.approx(1 - 77 / 240 * 63 / 64, abs=0.012)


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_rows_of_padding_stay_apart(mix):
    mask = np.arange(64) < 40
    pixels = _ids(8, 8, 1)
    mixed, soft = mix(pixels, LABELS, np.random.default_rng(0), row_mask=mask)
    assert np.array_equal(mixed[40:], pixels[40:])
    assert np.array_equal(soft[40:], LABELS[40:])
    assert mixed[:40].max() < 40
    alone, label = mix(pixels[:1], LABELS[:1], np.random.default_rng(0))
    np.testing.assert_allclose(alone, pixels[:1], atol=1e-6)
    np.testing.assert_allclose(label, LABELS[:1], atol=1e-6)
