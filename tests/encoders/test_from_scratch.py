"""What every encoder that is trained from scratch must hold: padding tells nothing, it learns."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.nn.pooling import masked_mean

RNG = np.random.default_rng(0)
ROWS = 6


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal((ROWS, *shape)).astype(np.float32)


def prefix(length: int) -> np.ndarray:
    """From a full row to one position, and the last row without any."""
    return np.arange(length) < np.array([[length], [length - 1], [4], [2], [1], [0]])


STREAM = {"input_features": normal(8, 8), "attention_mask": prefix(8)}
TABLE = {
    "numbers": normal(2),
    "number_mask": RNG.random((ROWS, 2)) < 0.7,
    "categories": np.stack([np.arange(ROWS) % 3, np.arange(ROWS) % 4], axis=1).astype(np.int32),
}
BLOCKS = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 16}
IDS = RNG.integers(0, 13, (ROWS, 6)).astype(np.int32)

CASES = {
    "audio_cnn": (STREAM, {"channels": (4, 8), "groups": 2, "width": 8}),
    "conv1d": (STREAM, {"channels": (8, 8)}),
    "stream_rnn": (STREAM, {"width": 8}),
    "time_series": (
        {
            "times": normal(6),
            "values": normal(6),
            "channels": RNG.integers(0, 3, (ROWS, 6)).astype(np.int32),
            "attention_mask": prefix(6),
        },
        {**BLOCKS, "channel_count": 3},
    ),
    "point_set": (
        {"points": normal(9, 4), "attention_mask": prefix(9)},
        {**BLOCKS, "channels": (8,), "tokens": 4, "neighbours": 3},
    ),
    "positions": (
        {"coordinates": 50 * normal(6, 3), "attention_mask": prefix(6)},
        {**BLOCKS, "hidden": 8, "scales": 3},
    ),
    "table_mlp": (TABLE, {"width": 8, "hidden": (8,), "numbers": 2, "cardinalities": (3, 4)}),
    "ft_transformer": (TABLE, {**BLOCKS, "numbers": 2, "cardinalities": (3, 4)}),
    "volume_cnn": (
        {"voxel_values": normal(4, 4, 4, 1)},
        {"channels": (8,), "blocks": (1,), "groups": 2, "width": 8},
    ),
    "volume_transformer": (
        {"voxel_values": normal(4, 4, 4, 1)},
        {**BLOCKS, "patch": 2, "volume_size": (4, 4, 4)},
    ),
    "frames": (
        {"pixel_values": normal(4, 4, 4, 3), "frame_mask": prefix(4)},
        {
            **BLOCKS,
            "temporal": "transformer",
            "image": Spec("vit", **BLOCKS, patch=2),
            "image_size": 4,
        },
    ),
    "text_rnn": (
        {"input_ids": IDS, "attention_mask": prefix(6)},
        {"width": 8, "cell": "gru", "embedding_width": 8, "vocab_size": 13},
    ),
}
"""Fields, and options that make the encoder small."""

MASKS = ("attention_mask", "frame_mask")


def mask_of(fields: dict) -> np.ndarray | None:
    return next((fields[name] for name in MASKS if name in fields), None)


PADDED = sorted(name for name in CASES if mask_of(CASES[name][0]) is not None)


@functools.cache
def trained(name: str):
    """A function of the fields: the tokens, then losses and gradients of thirty steps of Adam."""
    fields, options = CASES[name]
    module = encoders.build(name, **options, dropout=0.0)
    start = reference.random_variables(module, **fields, train=False)["params"]
    head = jnp.asarray(np.random.default_rng(1).standard_normal((8, 2)), jnp.float32)
    labels = np.array([0, 1, 0, 1, 1, 0])
    optimizer = optax.adam(0.02)

    def loss(params, fields):
        rngs = {"dropout": jax.random.key(1)}
        tokens = module.apply({"params": params}, **fields, train=True, rngs=rngs)
        logits = (tokens.pooled + masked_mean(tokens.values, tokens.mask)) @ head
        rows = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        seen = tokens.mask.any(axis=1)
        return jnp.sum(rows * seen) / seen.sum(), tokens

    @jax.jit
    def train(fields):
        def step(carry, _):
            params, state = carry
            (value, tokens), slopes = jax.value_and_grad(loss, has_aux=True)(params, fields)
            updates, state = optimizer.update(slopes, state)
            return (optax.apply_updates(params, updates), state), (tokens, value, slopes)

        return jax.lax.scan(step, (start, optimizer.init(start)), None, length=30)[1]

    return train


@functools.cache
def clean(name: str):
    return jax.device_get(trained(name)(CASES[name][0]))


@pytest.mark.parametrize("name", sorted(CASES))
def test_thirty_steps_tell_the_rows_apart(name):
    _, losses, slopes = clean(name)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    idle = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slopes)
        if not leaf.any()
    ]
    assert not idle, f"parameters without a gradient: {idle}"
    assert losses[-1] < 0.6 * losses[0], losses


@pytest.mark.parametrize("name", PADDED)
def test_what_stands_in_the_padding_changes_no_bit_of_anything(name):
    """Of tokens, pooled vectors, losses or gradients, in any of the steps."""
    fields, _ = CASES[name]
    mask = mask_of(fields)
    dirty = dict(fields)
    for field, values in fields.items():
        if values.shape[:2] == mask.shape and field not in MASKS:
            junk = values.dtype.type(np.nan if values.dtype.kind == "f" else 2)
            padded = ~mask.reshape(*mask.shape, *[1] * (values.ndim - 2))
            dirty[field] = np.where(padded, junk, values)
    tokens, *rest = clean(name)
    others, *other_rest = jax.device_get(trained(name)(dirty))
    jax.tree.map(np.testing.assert_array_equal, rest, other_rest)
    np.testing.assert_array_equal(tokens.pooled, others.pooled)
    kept = tokens.mask[0]
    np.testing.assert_array_equal(tokens.mask, others.mask)
    np.testing.assert_array_equal(tokens.values[:, kept], others.values[:, kept])


@pytest.mark.parametrize("name", PADDED)
def test_a_row_without_anything_has_no_token_and_pools_to_zero(name):
    there = mask_of(CASES[name][0]).any(axis=1)
    tokens = clean(name)[0]
    np.testing.assert_array_equal(tokens.mask[0].any(axis=1), there)
    assert not tokens.pooled[:, ~there].any()
    assert tokens.pooled[:, there].any(axis=(0, 2)).all()
