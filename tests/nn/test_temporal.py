import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.nn.temporal import fold_time, mean_over_time, shorter_mask, stream_of, without_padding

VALUES = np.random.default_rng(0).standard_normal((2, 5, 3)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 0, 0]], bool)


def test_a_run_is_valid_where_any_of_its_positions_is():
    found = shorter_mask(jnp.asarray(MASK), 2)
    np.testing.assert_array_equal(found, [[1, 1, 1], [1, 0, 0]])


def test_runs_become_channels_and_the_last_is_filled_with_zeros():
    found = np.asarray(fold_time(jnp.asarray(VALUES), 2))
    assert found.shape == (2, 3, 6)
    np.testing.assert_array_equal(found[:, 1], VALUES[:, 2:4].reshape(2, 6))
    np.testing.assert_array_equal(found[:, 2], np.pad(VALUES[:, 4], ((0, 0), (0, 3))))


def test_means_are_of_the_valid_positions():
    values = np.where(MASK[..., None], VALUES, np.nan)
    found = np.asarray(mean_over_time(jnp.asarray(values), jnp.asarray(MASK), 2))
    np.testing.assert_allclose(found[0, 0], VALUES[0, :2].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(found[0, 2], VALUES[0, 4])
    np.testing.assert_array_equal(found[1, 0], VALUES[1, 1])
    assert not found[1, 1:].any()


def test_padding_is_zero_whatever_stands_there():
    found = np.asarray(without_padding(jnp.asarray(VALUES * np.inf), jnp.asarray(MASK)))
    assert not found[~MASK].any()


def test_a_stream_is_features_or_a_waveform():
    assert stream_of(VALUES, None, "x").shape == (2, 5, 3)
    assert stream_of(None, VALUES[..., 0], "x").shape == (2, 5, 1)
    with pytest.raises(ConfigError, match="x was given neither"):
        stream_of(None, None, "x")
    with pytest.raises(ConfigError, match="x was given both"):
        stream_of(VALUES, VALUES[..., 0], "x")
