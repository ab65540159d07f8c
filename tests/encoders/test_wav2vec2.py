import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core.errors import ConfigError
from mmjax.encoders.speech_frames import frame_mask, receptive_field

KERNELS, STRIDES = (7, 3, 2), (3, 2, 2)
TINY = {
    "width": 8,
    "depth": 1,
    "heads": 2,
    "mlp_dim": 16,
    "conv_channels": (6, 6, 6),
    "conv_kernels": KERNELS,
    "conv_strides": STRIDES,
    "position_kernel": 4,
    "position_groups": 2,
}
RNG = np.random.default_rng(0)
SOUND = RNG.standard_normal((2, 103)).astype(np.float32)


def covered(samples: int, frames: int) -> list[bool]:
    """Whether every sample below a frame is there, followed down through the convolutions."""
    there = [i < samples for i in range(103)]
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        count = (len(there) - kernel) // stride + 1
        there = [all(there[i * stride : i * stride + kernel]) for i in range(count)]
    assert len(there) == frames
    return there


def test_a_frame_counts_where_all_its_samples_do():
    samples = np.arange(104)
    mask = np.arange(103) < samples[:, None]
    found = np.asarray(frame_mask(mask, jnp.zeros((104, 8, 1)), KERNELS, STRIDES))
    for n in samples:
        assert found[n].tolist() == covered(n, 8)
    assert receptive_field(KERNELS, STRIDES) == found.any(axis=1).argmax() == 19
    assert frame_mask(None, jnp.zeros((2, 8, 1)), KERNELS, STRIDES).all()


def test_a_waveform_shorter_than_a_frame_is_refused():
    module = encoders.build("wav2vec2", **TINY)
    with pytest.raises(ConfigError, match=r"18 samples.*at least 19"):
        jax.eval_shape(lambda: module.init(jax.random.key(0), SOUND[:, :18], train=False))
    other = encoders.build("wav2vec2", **{**TINY, "conv_kernels": (7, 3)})
    with pytest.raises(ConfigError, match="one of each"):
        jax.eval_shape(lambda: other.init(jax.random.key(0), SOUND, train=False))


def test_frames_are_hidden_in_training_alone():
    module = encoders.build(
        "wav2vec2",
        **TINY,
        **dict.fromkeys(("dropout", "attention_dropout", "mlp_dropout"), 0.0),
        mask_time_rate=1.0,
        mask_time_span=1,
        mask_feature_rate=0.0,
    )
    variables = reference.random_variables(module, SOUND, train=False)
    apply = jax.jit(module.apply, static_argnames="train")
    hidden = apply(variables, SOUND, train=True, rngs={"mask": jax.random.key(0)})
    again = apply(variables, SOUND, train=True, rngs={"mask": jax.random.key(1)})
    # All frames are hidden, so that nothing of the sound is left, and no draw differs.
    np.testing.assert_array_equal(hidden.values[0], hidden.values[1])
    np.testing.assert_array_equal(hidden.values, again.values)
    shown = apply(variables, SOUND, train=False)
    assert np.abs(shown.values[0] - shown.values[1]).max() > 0.01
    everything = np.ones((2, 8), bool)
    named = jax.jit(functools.partial(module.apply, train=False))(
        variables, SOUND, None, everything
    )
    np.testing.assert_allclose(named.values, hidden.values, atol=1e-6)


@pytest.mark.parametrize("length", [58, 20])
def test_padding_changes_nothing_where_frames_are_normalised_alone(length):
    module = encoders.build("wav2vec2", **TINY, conv_norm="layer", norm="pre")
    variables = reference.random_variables(module, SOUND, train=False)
    apply = jax.jit(functools.partial(module.apply, train=False))
    mask = np.arange(103) < np.array([[103], [length]])
    padded = apply(variables, np.where(mask, SOUND, 0), mask)
    alone = apply(variables, SOUND[1:, :length])
    count = alone.values.shape[1]
    assert padded.mask.sum(axis=1).tolist() == [8, count]
    np.testing.assert_allclose(padded.values[1, :count], alone.values[0], atol=1e-5)
    np.testing.assert_allclose(padded.pooled[1], alone.pooled[0], atol=1e-5)


def test_a_row_without_sound_has_no_frames():
    module = encoders.build("wav2vec2", **TINY, adapter_layers=1)
    variables = reference.random_variables(module, SOUND, train=False)
    mask = np.array([[True] * 103, [False] * 103])
    tokens = jax.jit(functools.partial(module.apply, train=False))(
        variables, np.where(mask, SOUND, 0), mask
    )
    assert tokens.mask.tolist() == [[True] * 4, [False] * 4]
    assert np.isfinite(tokens.values).all()
    assert not np.asarray(tokens.pooled[1]).any()
