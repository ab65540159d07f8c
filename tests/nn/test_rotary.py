import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.nn.rotary import rotary_angles, rotary_frequencies, rotate

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((2, 5, 3, 10)).astype(np.float32)
POSITIONS = np.array([[0, 1, 2, 3, 4], [7, 3, 0, 2, 9]])


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dim", [6, 10])
def test_turns_pairs_as_complex_numbers(dim, interleaved):
    angles = rotary_angles(POSITIONS, rotary_frequencies(dim, 100.0))
    found = np.asarray(rotate(jnp.asarray(VALUES), angles, interleaved=interleaved))
    wide = VALUES.astype(np.float64)
    for i in range(dim // 2):
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + dim // 2)
        turn = np.exp(1j * POSITIONS * 100.0 ** (-2 * i / dim))[:, :, None]
        pair = (wide[..., a] + 1j * wide[..., b]) * turn
        np.testing.assert_allclose(found[..., a], pair.real, atol=1e-5)
        np.testing.assert_allclose(found[..., b], pair.imag, atol=1e-5)
    np.testing.assert_array_equal(found[..., dim:], VALUES[..., dim:])


def test_scaled_frequencies():
    plain = rotary_frequencies(64, 500000.0).astype(np.float64)
    np.testing.assert_allclose(
        rotary_frequencies(64, 500000.0, {"factor": 4.0}), plain / 4, rtol=1e-6
    )
    found = rotary_frequencies(
        64,
        500000.0,
        {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    wavelengths = 2 * np.pi / plain
    short, long = wavelengths < 8192 / 4, wavelengths > 8192
    np.testing.assert_allclose(found[short], plain[short], rtol=1e-6)
    np.testing.assert_allclose(found[long], plain[long] / 8, rtol=1e-6)
    between = ~short & ~long
    assert between.any()
    assert (found[between] < plain[between]).all()
    assert (found[between] > plain[between] / 8).all()


def test_odd_sizes_are_refused():
    with pytest.raises(ConfigError, match="rotary_dim=5 is odd"):
        rotary_frequencies(5)
