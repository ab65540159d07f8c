"""Parameters as they are stored, and what comes back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.checkpoint.trees import nest
from mmjax.export import variants

RNG = np.random.default_rng(0)


def test_int8_is_off_by_half_a_scale_at_the_most():
    weights = RNG.normal(size=(64, 48)) * np.exp(RNG.normal(size=48))
    weights[:, 5] = 0.0
    values, scale = variants.quantise(weights.astype(np.float32), (1,))
    assert values.dtype == np.int8
    assert scale.shape == (1, 48)
    largest = np.abs(weights.astype(np.float32)).max(axis=0)
    np.testing.assert_allclose(scale[0], np.where(largest > 0, largest / 127, 1), rtol=1e-6)
    assert (np.abs(values * scale - weights) <= scale / 2 * (1 + 1e-5)).all()
    # The largest of each channel is kept, and zeros are zeros.
    np.testing.assert_allclose(np.abs(values * scale).max(axis=0), largest, rtol=1e-6)
    assert not values[:, 5].any()


@pytest.mark.parametrize(
    ("path", "shape", "scales"),
    [
        ("params/text/words/embedding", (300, 8), (300, 1)),
        ("params/fusion/output/kernel", (40, 48), (1, 48)),
        ("params/image/kernel", (3, 3, 16, 32), (1, 1, 1, 32)),
        ("params/text/stack/layers/mlp/kernel", (3, 40, 16), (3, 1, 16)),
    ],
)
def test_each_row_or_output_or_layer_has_its_scale(path, shape, scales):
    array = RNG.normal(size=shape).astype(np.float32)
    flat = {
        path: array,
        "params/bias": np.ones(2000, np.float32),
        "params/a": np.ones((2, 2), np.float32),
    }
    kept = variants.stored(flat, "int8")
    assert kept[path].dtype == np.int8
    assert kept[path + variants.SCALE].shape == scales
    assert kept["params/bias"].dtype == np.float32
    assert kept["params/a"].shape == (2, 2)
    dtypes = {name: value.dtype for name, value in flat.items()}
    found = jax.jit(lambda given: variants.restored(given, dtypes))(kept)
    assert set(found) == set(flat)
    off = np.abs(np.asarray(found[path]) - array)
    assert (off <= kept[path + variants.SCALE] / 2 * (1 + 1e-5)).all()


def test_bfloat16_rounds_and_whole_numbers_stay():
    flat = {"a": np.float32([1.0, 1.00390625, 3.14159]), "b": np.int32([7])}
    kept = variants.stored(flat, "bf16")
    assert kept["a"].dtype == jnp.bfloat16
    assert kept["b"] is not None
    found = variants.restored(kept, {"a": np.float32, "b": np.int32})
    np.testing.assert_array_equal(np.asarray(found["a"]), np.float32([1.0, 1.0, 3.140625]))
    np.testing.assert_array_equal(np.asarray(found["b"]), [7])


def test_trees_are_paths_and_back():
    tree = {"params": {"a": {"kernel": 1, "bias": 2}}, "batch_stats": {"mean": 3}}
    flat = variants.flatten(tree)
    assert flat == {"params/a/kernel": 1, "params/a/bias": 2, "batch_stats/mean": 3}
    assert nest(flat) == tree
