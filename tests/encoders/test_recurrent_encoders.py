import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.recurrent import StreamRNN, TextRNN
from mmjax.nn.recurrent import Recurrent

FEATURES = np.random.default_rng(0).standard_normal((3, 5, 3)).astype(np.float32)
MASK = np.arange(5) < np.array([[5], [2], [0]])
IDS = np.array([[3, 1, 4, 1, 5], [2, 6, 0, 0, 0], [0, 0, 0, 0, 0]], np.int32)


def layers(params, values, mask, hidden, cell):
    """Layer by layer, direction by direction, with the layer that has its own test."""
    last = None
    run = {
        direction: jax.jit(
            Recurrent(hidden=hidden, cell=cell, reverse=direction == "backward").apply
        )
        for direction in ("forward", "backward")
    }
    for layer in range(len(params) // 2):
        found = [
            run[direction]({"params": params[f"layer_{layer}_{direction}"]}, values, mask)
            for direction in ("forward", "backward")
        ]
        values = jnp.concatenate([states for states, _ in found], axis=-1)
        last = np.concatenate([last for _, last in found], axis=-1)
    return np.asarray(values), last


def test_two_layers_in_both_directions_and_each_way_to_pool():
    module = StreamRNN(width=6, depth=2, cell="gru")
    variables = reference.random_variables(module, FEATURES, MASK, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, FEATURES, MASK)
    values, last = layers(variables["params"], jnp.asarray(FEATURES), jnp.asarray(MASK), 3, "gru")
    np.testing.assert_allclose(tokens.values, values, atol=1e-6)
    np.testing.assert_array_equal(tokens.mask, MASK)
    np.testing.assert_allclose(tokens.pooled, last, atol=1e-6)
    largest = [
        row[kept].max(axis=0) if kept.any() else 0 * row[0]
        for row, kept in zip(values, MASK, strict=True)
    ]
    expected = {"mean": reference.masked_mean(values, MASK), "max": np.stack(largest)}
    for pooling, pooled in expected.items():
        run = functools.partial(module.clone(pooling=pooling).apply, train=False)
        np.testing.assert_allclose(
            jax.jit(run)(variables, FEATURES, MASK).pooled, pooled, atol=1e-6
        )


def test_text_is_its_embeddings():
    module = TextRNN(vocab_size=7, embedding_width=4, width=6)
    variables = reference.random_variables(module, IDS, MASK, train=False)
    tokens = jax.jit(functools.partial(module.apply, train=False))(variables, IDS, MASK)
    params = dict(variables["params"])
    words = jnp.asarray(params.pop("words")["embedding"][IDS])
    values, last = layers(params, words, jnp.asarray(MASK), 3, "lstm")
    np.testing.assert_allclose(tokens.values, values, atol=1e-6)
    np.testing.assert_allclose(tokens.pooled, last, atol=1e-6)


def test_several_positions_are_read_in_one_step():
    module = StreamRNN(width=4, fold=2, bidirectional=False)
    tokens, variables = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), FEATURES, MASK, train=False)
    )
    assert tokens.values.shape == (3, 3, 4)
    assert set(variables["params"]) == {"layer_0_forward"}


def test_an_odd_width_has_no_halves():
    with pytest.raises(ConfigError, match=r"width=5 does not halve.*width=6"):
        reference.shapes(StreamRNN(width=5), FEATURES, MASK, train=False)
