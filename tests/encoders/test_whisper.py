import functools

import jax
import numpy as np
import pytest
import reference

from mmjax import encoders
from mmjax.core.errors import ConfigError

TINY = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
RNG = np.random.default_rng(0)
BANDS = RNG.standard_normal((2, 9, 4)).astype(np.float32)


@pytest.mark.slow
def test_positions_begin_as_those_of_whisper_and_are_not_trained():
    module = encoders.build("whisper_encoder", **TINY, max_frames=9)
    variables = reference.unbox(module.init(jax.random.key(0), BANDS, train=False))
    angles = np.outer(np.arange(5), np.exp(-np.log(10000) / 3 * np.arange(4)))
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    found = variables["params"]["positions"]
    np.testing.assert_allclose(found, expected, atol=1e-6)

    def loss(params):
        return module.apply({"params": params}, BANDS, train=False).values[0, 0, 0]

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    assert not np.asarray(gradients["positions"]).any()
    assert np.asarray(gradients["conv_0"]["kernel"]).any()


def test_more_frames_than_positions_are_refused():
    module = encoders.build("whisper_encoder", **TINY, max_frames=8)
    with pytest.raises(ConfigError, match="9 frames are more than max_frames=8"):
        jax.eval_shape(lambda: module.init(jax.random.key(0), BANDS, train=False))


def test_a_text_looks_back_only_and_at_all_of_the_sound():
    module = encoders.decoders.build(
        "whisper", **TINY, max_frames=9, max_length=6, vocab_size=11, decoder_depth=2
    )
    texts = RNG.integers(0, 11, (2, 5))
    mask = np.arange(9) < np.array([[9], [2]])
    variables = reference.random_variables(module, BANDS, mask, texts, train=False)
    apply = jax.jit(functools.partial(module.apply, train=False))
    found = apply(variables, BANDS, mask, texts)
    later = texts.copy()
    later[:, 3:] = 0
    changed = apply(variables, BANDS, mask, later)
    np.testing.assert_allclose(changed.logits[:, :3], found.logits[:, :3], atol=1e-6)
    silence = BANDS.copy()
    silence[:, -1] = 1.0
    heard = apply(variables, silence, mask, texts)
    assert np.abs(heard.logits - found.logits).max(axis=(1, 2)).min() > 1e-4
    np.testing.assert_array_equal(found.encoder.mask, mask[:, ::2])


def test_bands_are_hidden_in_training_alone():
    module = encoders.build(
        "whisper_encoder",
        **TINY,
        **dict.fromkeys(("dropout", "attention_dropout"), 0.0),
        max_frames=9,
        mask_feature_rate=1.0,
        mask_feature_span=1,
    )
    variables = reference.random_variables(module, BANDS, train=False)
    apply = jax.jit(module.apply, static_argnames="train")
    hidden = apply(variables, BANDS, train=True, rngs={"mask": jax.random.key(0)})
    np.testing.assert_allclose(
        hidden.values, apply(variables, 0 * BANDS, train=False).values, atol=1e-6
    )
