import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.masking import keep_tokens, random_masking, restore_tokens

RNG = np.random.default_rng(0)
NOISE = RNG.uniform(size=(3, 10)).astype(np.float32)
PLACES = np.broadcast_to(np.arange(10.0, dtype=np.float32)[:, None], (3, 10, 2))
"""Tokens that tell their own place."""


def test_the_lowest_noise_stays():
    masking = random_masking(NOISE, 4)
    for row in range(3):
        by_noise = sorted(range(10), key=lambda place: NOISE[row, place])
        assert masking.keep[row].tolist() == by_noise[:4]
        assert masking.restore[row].tolist() == [by_noise.index(place) for place in range(10)]
        assert np.flatnonzero(masking.hidden[row]).tolist() == sorted(by_noise[4:])


def test_equal_noise_keeps_its_order():
    masking = random_masking(np.array([[0.5, 0.2, 0.5, 0.2]], np.float32), 3)
    assert masking.keep.tolist() == [[1, 3, 0]]
    assert masking.restore.tolist() == [[2, 0, 3, 1]]


@pytest.mark.parametrize("extra", [0, 2])
def test_every_token_comes_back_to_its_place(extra):
    first = -1.0 - np.arange(extra)[:, None] * np.ones((3, extra, 2))
    values = jnp.asarray(np.concatenate([first, PLACES], axis=1), jnp.float32)
    masking = random_masking(NOISE, 4)
    kept = keep_tokens(values, masking.keep, extra=extra)
    assert kept.shape == (3, extra + 4, 2)
    np.testing.assert_array_equal(kept[:, extra:, 0], masking.keep)
    whole = restore_tokens(kept, masking.restore, jnp.full(2, 99.0), extra=extra)
    hidden = np.concatenate([np.zeros((3, extra), bool), masking.hidden], axis=1)
    np.testing.assert_array_equal(whole, np.where(hidden[..., None], 99.0, values))


def test_masks_are_taken_as_tokens_are():
    mask = RNG.uniform(size=(3, 10)) < 0.5
    keep = random_masking(NOISE, 4).keep
    expected = [mask[row, places] for row, places in enumerate(np.asarray(keep))]
    np.testing.assert_array_equal(keep_tokens(jnp.asarray(mask), keep), expected)
