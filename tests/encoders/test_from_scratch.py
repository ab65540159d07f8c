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


@functools.cache
def ready(name: str):
    fields, options = CASES[name]
    module = encoders.build(name, **options, dropout=0.0)
    variables = reference.unbox(
        jax.jit(lambda: module.init(jax.random.key(0), **fields, train=False))()
    )
    run = jax.jit(functools.partial(module.apply, train=False))
    return fields, module, variables, run


@pytest.mark.parametrize("name", sorted(n for n in CASES if mask_of(CASES[n][0]) is not None))
def test_what_stands_in_the_padding_changes_no_bit(name):
    fields, _, variables, run = ready(name)
    mask = mask_of(fields)
    clean = run(variables, **fields)
    dirty = dict(fields)
    for field, values in fields.items():
        if values.shape[:2] == mask.shape and field not in MASKS:
            junk = np.nan if values.dtype.kind == "f" else 3
            padded = ~mask.reshape(*mask.shape, *[1] * (values.ndim - 2))
            dirty[field] = np.where(padded, values.dtype.type(junk), values)
    other = run(variables, **dirty)
    np.testing.assert_array_equal(clean.mask, other.mask)
    np.testing.assert_array_equal(clean.pooled, other.pooled)
    kept = np.asarray(clean.mask)
    np.testing.assert_array_equal(np.asarray(clean.values)[kept], np.asarray(other.values)[kept])
    np.testing.assert_array_equal(kept.any(axis=1), mask.any(axis=1))
    assert not np.asarray(clean.pooled)[~mask.any(axis=1)].any()


@pytest.mark.parametrize("name", sorted(CASES))
def test_thirty_steps_tell_the_rows_apart(name):
    fields, module, variables, _ = ready(name)
    head = jnp.asarray(np.random.default_rng(1).standard_normal((8, 2)), jnp.float32)
    labels = np.array([0, 1, 0, 1, 1, 0])
    optimizer = optax.adam(0.02)

    def loss(params):
        rngs = {"dropout": jax.random.key(1)}
        tokens = module.apply({"params": params}, **fields, train=True, rngs=rngs)
        logits = (tokens.pooled + masked_mean(tokens.values, tokens.mask)) @ head
        rows = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        seen = tokens.mask.any(axis=1)
        return jnp.sum(rows * seen) / seen.sum()

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            value, slopes = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(slopes, state)
            return (optax.apply_updates(params, updates), state), (value, slopes)

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=30)[1]

    values, slopes = train(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    idle = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slopes)
        if not np.asarray(leaf).any()
    ]
    assert not idle, f"parameters without a gradient: {idle}"
    assert values[-1] < 0.6 * values[0], values
