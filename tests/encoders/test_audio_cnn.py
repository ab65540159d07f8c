import functools

import jax
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.audio_cnn import AudioCNN

FEATURES = np.random.default_rng(0).standard_normal((3, 7, 9)).astype(np.float32)
LENGTHS = np.array([7, 5, 1])
MASK = np.arange(7) < LENGTHS[:, None]


def pooled_over_time(x, factor=2):
    """Means of each two frames; the last frame of an odd number stays as it is."""
    return np.stack([x[:, t : t + factor].mean(axis=1) for t in range(0, x.shape[1], factor)], 1)


def test_each_row_is_as_if_it_were_alone_and_ended_there():
    """Two stages: a token for each 4 frames, the last of those that are left."""
    module = AudioCNN(channels=(4, 6), width=5, groups=2)
    variables = reference.random_variables(module, FEATURES, MASK, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, FEATURES, MASK)
    p = reference.double(variables["params"])
    np.testing.assert_array_equal(tokens.mask, [[1, 1], [1, 1], [1, 0]])
    for row, length in enumerate(LENGTHS):
        x = np.float64(FEATURES[row : row + 1, :length, :, None])
        for stage in range(2):
            for part in range(2):
                name = f"stage_{stage}_conv_{part}"
                x = reference.convolution(x, p[name]["kernel"], pad=1) + p[name]["bias"]
                x = np.maximum(reference.group_norm(p[f"{name}_norm"], x, 2), 0)
            bins = x.shape[2] // 2
            x = x[:, :, : 2 * bins].reshape(1, x.shape[1], bins, 2, -1).mean(axis=3)
            x = pooled_over_time(x)
        x = np.maximum(reference.dense(p["tokens"], x.mean(axis=2)), 0)
        count = x.shape[1]
        np.testing.assert_allclose(tokens.values[row, :count], x[0], atol=2e-5)
        pooled = reference.dense(p["pooled"], x.mean(axis=1) + x.max(axis=1))
        np.testing.assert_allclose(tokens.pooled[row], np.maximum(pooled, 0)[0], atol=2e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": (8,) * 4, "groups": 2}, "9 mel bins are too few.*at least 16"),
        ({"channels": (6,), "groups": 4}, "cannot split 6 channels into groups=4.*valid: 2"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        reference.shapes(AudioCNN(**options), FEATURES, MASK, train=False)
