import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import linen as nn

from mmjax import fusion, tasks
from mmjax.core.types import Batch, Tokens
from mmjax.encoders.image_cnn import ImageCNN
from mmjax.models.encoding import encode_views, keep_modalities
from mmjax.models.multimodal import Multimodal
from mmjax.nn.pooling import masked_mean

RNG = np.random.default_rng(0)
PRESENT = {
    "text": np.array([1, 0, 1, 1, 0, 0], bool),
    "image": np.array([1, 1, 0, 1, 0, 0], bool),
    "audio": np.array([1, 1, 1, 0, 1, 0], bool),
}
ROW_MASK = np.array([1, 1, 1, 1, 1, 0], bool)
LABELS = np.array([0, 2, 1, 1, 0, -1], np.int32)
VALUES = {name: RNG.standard_normal((6, 2, 4)).astype(np.float32) for name in PRESENT}


class Given(nn.Module):
    """An encoder whose tokens are its input; two a row, all valid."""

    @nn.compact
    def __call__(self, values, *, train):
        mask = jnp.ones(values.shape[:2], bool)
        return Tokens(jnp.asarray(values), mask, masked_mean(jnp.asarray(values), mask))


def make_batch(present=PRESENT, row_mask=ROW_MASK, values=VALUES):
    return Batch(
        inputs={name: {"values": values[name]} for name in present},
        present=dict(present),
        targets={"label": LABELS},
        row_mask=row_mask,
        row=np.arange(6),
    )


def make_module(names=tuple(PRESENT), **options):
    return Multimodal(
        encoders={name: Given() for name in names},
        fusion=fusion.build("concat", width=8, depth=2),
        task=tasks.build("classification", num_labels=3),
        **options,
    )


@pytest.fixture(scope="module")
def variables():
    return reference.random_variables(make_module(), make_batch(), train=False)


@pytest.fixture(scope="module")
def run():
    """`run(variables, batch, key, train=, **options)`, compiled once for each set of options."""

    @functools.partial(jax.jit, static_argnames=("train", "options"))
    def compiled(variables, batch, key, train, options):
        module = make_module(**dict(options))
        return module.apply(variables, batch, train=train, rngs={"dropout": key})

    def call(variables, batch, seed=0, *, train=False, **options):
        key = jax.random.key(seed, impl="rbg")
        return compiled(variables, batch, key, train, tuple(sorted(options.items())))

    return call


def test_modalities_keep_the_order_of_the_config_and_absent_rows_are_masked(variables):
    names = []

    @jax.jit
    def encode(batch):
        tokens = make_module().apply(variables, batch, train=False, method="encode")
        names.extend(tokens)
        return list(tokens.values())

    tokens = dict(zip(names, encode(make_batch()), strict=False))
    assert list(tokens) == ["text", "image", "audio"]
    for name, one in tokens.items():
        np.testing.assert_array_equal(one.mask, np.repeat(PRESENT[name][:, None], 2, axis=1))
        expected = VALUES[name].mean(axis=1) * PRESENT[name][:, None]
        np.testing.assert_allclose(one.pooled, expected, atol=1e-6)


def test_the_inputs_of_absent_rows_and_of_padding_change_nothing(variables, run):
    other = {
        name: np.where(PRESENT[name][:, None, None], values, 1e3) for name, values in VALUES.items()
    }
    ours = run(variables, make_batch(), train=True, auxiliary_loss=0.5)
    others = run(variables, make_batch(values=other), train=True, auxiliary_loss=0.5)
    jax.tree.map(np.testing.assert_array_equal, ours, others)
    assert float(ours.weight) == ROW_MASK.sum()


def test_auxiliary_losses_are_those_of_each_modality_alone(variables, run):
    """Rows that have the modality, all others hidden; over the weight of the whole batch."""
    main = run(variables, make_batch())
    extra = 0.0
    for name in PRESENT:
        alone = {other: here & (other == name) for other, here in PRESENT.items()}
        own = run(variables, make_batch(alone, ROW_MASK & PRESENT[name]))
        assert float(own.weight) == (ROW_MASK & PRESENT[name]).sum()
        extra += float(own.loss) * float(own.weight)
    expected = float(main.loss) + 0.5 * extra / float(main.weight)
    found = run(variables, make_batch(), train=True, auxiliary_loss=0.5)
    assert float(found.loss) == pytest.approx(expected, rel=1e-6)
    keep = lambda output: (output.weight, output.metrics, output.predictions)  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, keep(found), keep(main))
    evaluated = run(variables, make_batch(), auxiliary_loss=0.5)
    assert float(evaluated.loss) == float(main.loss)


def test_a_single_modality_has_no_auxiliary_loss():
    batch = make_batch({"text": PRESENT["text"]})
    variables = reference.random_variables(make_module(("text",)), batch, train=False)

    @jax.jit
    def losses(variables):
        modules = [make_module(("text",), auxiliary_loss=weight) for weight in (0.0, 1.0)]
        return [module.apply(variables, batch, train=True).loss for module in modules]

    first, second = losses(variables)
    assert float(first) == float(second)


def test_modality_dropout_hides_in_training_alone(variables, run):
    still = run(variables, make_batch())
    for seed in (0, 1):
        evaluated = run(variables, make_batch(), seed, modality_dropout=0.9)
        assert float(evaluated.loss) == float(still.loss)
    losses = [
        float(run(variables, make_batch(), seed, train=True, modality_dropout=0.9).loss)
        for seed in (0, 1)
    ]
    assert len({*losses, float(still.loss)}) == 3


def test_feature_dropout_leaves_out_channels_of_one_modality_in_training(variables):
    batch, keys = make_batch(), {"dropout": jax.random.key(0, impl="rbg")}
    module, plain = make_module(feature_dropout={"image": 0.5}), make_module()

    @functools.partial(jax.jit, static_argnames="train")
    def encode(train):
        method = "encode"
        return (
            module.apply(variables, batch, train=train, rngs=keys, method=method),
            plain.apply(variables, batch, train=train, rngs=keys, method=method),
        )

    found, expected = encode(train=True)
    image, whole = np.asarray(found["image"].pooled), np.asarray(expected["image"].pooled)
    assert 0 < (image[PRESENT["image"]] == 0).sum() < image[PRESENT["image"]].size
    np.testing.assert_allclose(image[image != 0], 2 * whole[image != 0], rtol=1e-6)
    np.testing.assert_array_equal(found["image"].values, expected["image"].values)
    np.testing.assert_array_equal(found["text"].pooled, expected["text"].pooled)
    found, expected = encode(train=False)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_keep_modalities(rate):
    """Of m present ones, each stays with chance 1 - r, and as the last one with r^m / m more."""
    rows = 20_000
    patterns = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    present = np.repeat(patterns, rows, axis=0)
    key = jax.random.key(0, impl="rbg")
    run = jax.jit(functools.partial(keep_modalities, rate=rate))
    kept = np.asarray(run(key, jnp.asarray(present)))
    assert not (kept & ~present).any()
    np.testing.assert_array_equal(kept.any(axis=1), present.any(axis=1))
    for pattern, share in zip(patterns, kept.reshape(4, rows, 3).mean(axis=1), strict=True):
        count = max(int(pattern.sum()), 1)
        expected = pattern * (1 - rate + rate**count / count)
        spread = np.sqrt(expected * (1 - expected) / rows)
        assert (np.abs(share - expected) <= 4 * spread).all()


def test_several_views_are_one_thing():
    module = ImageCNN(channels=(8,), blocks=(0,), groups=4, width=6)
    pixels = RNG.standard_normal((3, 2, 8, 8, 3)).astype(np.float32)
    variables = reference.random_variables(module, pixels[:, 0], train=False)
    alone = jax.jit(functools.partial(module.apply, train=False))
    views = [alone(variables, pixels[:, view]) for view in (0, 1)]

    @jax.jit
    def both(pixels):
        return encode_views(module.bind(variables), {"pixel_values": pixels}, train=False)

    together = both(pixels)
    pooled = (np.float64(views[0].pooled) + np.float64(views[1].pooled)) / 2
    np.testing.assert_allclose(together.pooled, pooled, atol=1e-6)
    values = np.concatenate([view.values for view in views], axis=1)
    np.testing.assert_allclose(together.values, values, atol=1e-6)
    assert together.mask.shape == together.values.shape[:2]


class Clip(nn.Module):
    """A video's pixels as tokens, one a frame."""

    @nn.compact
    def __call__(self, pixel_values, frame_mask, *, train):
        values = jnp.asarray(pixel_values).mean(axis=(2, 3))
        mask = jnp.asarray(frame_mask)
        return Tokens(values, mask, masked_mean(values, mask))


def test_a_video_is_not_several_views():
    frames = RNG.standard_normal((2, 3, 2, 2, 5)).astype(np.float32)
    mask = np.array([[1, 1, 1], [1, 0, 0]], bool)
    tokens = encode_views(
        Clip().bind({}), {"pixel_values": frames, "frame_mask": mask}, train=False
    )
    np.testing.assert_array_equal(tokens.mask, mask)
    expected = [frames[0].mean(axis=(0, 1, 2)), frames[1, 0].mean(axis=(0, 1))]
    np.testing.assert_allclose(tokens.pooled, expected, atol=1e-6)


def test_embed_gives_the_fused_summary_and_each_modality_own(variables):
    found = jax.jit(lambda batch: make_module().apply(variables, batch, method="embed"))(
        make_batch()
    )
    assert set(found) == {"fused", *PRESENT}
    p = reference.double(variables["params"]["fusion"])
    parts = {}
    for name, values in VALUES.items():
        own = values.mean(axis=1) * PRESENT[name][:, None]
        np.testing.assert_allclose(found[name], own, atol=1e-6)
        parts[name] = reference.dense(p[f"{name}_pooled"], np.float64(own))
        parts[name] *= PRESENT[name][:, None]
    joined = np.concatenate([parts[name] for name in sorted(parts)], axis=1)
    fused = reference.dense(p["layer_1"], reference.gelu(reference.dense(p["layer_0"], joined)))
    some = np.any(list(PRESENT.values()), axis=0)[:, None]
    np.testing.assert_allclose(found["fused"], fused * some, atol=2e-5)
