import functools

import jax
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core.errors import ConfigError

TINY = {
    "width": 8,
    "depth": 1,
    "heads": 2,
    "mlp_dim": 16,
    "max_frames": 9,
    "mel_bins": 5,
    "patch": 3,
    "time_stride": 2,
    "frequency_stride": 1,
}
BANDS = np.random.default_rng(0).standard_normal((3, 9, 5)).astype(np.float32)


def test_a_patch_counts_where_its_first_frame_does():
    module = encoders.build("spectrogram_transformer", **TINY)
    variables = reference.random_variables(module, BANDS, train=False)
    apply = jax.jit(functools.partial(module.apply, train=False))
    mask = np.arange(9) < np.array([[9], [5], [0]])
    found = apply(variables, BANDS, mask)
    # Four patches over time, from frames 0, 2, 4 and 6, at each of three heights.
    assert found.mask.tolist() == [
        [True] * 14,
        [True] * 2 + [True, True, True, False] * 3,
        [False] * 14,
    ]
    np.testing.assert_array_equal(found.values, apply(variables, BANDS, mask | True).values)


def test_fewer_frames_have_the_first_positions():
    longer = encoders.build("spectrogram_transformer", **TINY)
    shorter = encoders.build("spectrogram_transformer", **{**TINY, "max_frames": 6})
    variables = reference.random_variables(longer, BANDS, train=False)
    found = jax.jit(functools.partial(longer.apply, train=False))(variables, BANDS[:, :6])
    # The positions of a model for 6 frames: the two tokens', and two patches of four a height.
    table = variables["params"]["positions"][0]
    kept = [0, 1, 2, 3, 6, 7, 10, 11]
    params = {**variables["params"], "positions": table[None, kept]}
    apply = jax.jit(functools.partial(shorter.apply, train=False))
    expected = apply({"params": params}, BANDS[:, :6])
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6)


@pytest.mark.parametrize(
    ("frames", "bands", "told"),
    [(10, 5, "10 frames where max_frames=9"), (2, 5, "2 frames"), (9, 4, "4 mel bins")],
)
def test_other_sizes_are_refused(frames, bands, told):
    module = encoders.build("spectrogram_transformer", **TINY)
    sound = np.zeros((1, frames, bands), np.float32)
    with pytest.raises(ConfigError, match=told):
        jax.eval_shape(lambda: module.init(jax.random.key(0), sound, train=False))
