"""Where only one word, or one region, carries the label, explanations point there."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import twin

from mmjax.encoders.bag_of_subwords import BagOfSubwords
from mmjax.explain.curves import curves
from mmjax.explain.grad_cam import GradCam
from mmjax.explain.integrated_gradients import IntegratedGradients
from mmjax.explain.occlusion import Occlusion
from mmjax.explain.randomised import agreement
from mmjax.explain.shapley import Shapley
from mmjax.explain.subject import Subject
from mmjax.fusion.concat import Concat
from mmjax.models.multimodal import Multimodal
from mmjax.parallel.sharding import unbox
from mmjax.tasks.classification import Classification

ROWS, WORDS, SIDE, HALF, LABELS = 96, 8, 8, 4, 3
STEPS = 120
ENOUGH = 0.95


def made(carrier: str, seed: int):
    """Rows whose label one word, or the colour of one quarter of the picture, tells; the rest is
    noise. Where it stands is drawn for every row.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, LABELS, ROWS)
    ids = rng.integers(LABELS + 2, 24, (ROWS, WORDS)).astype(np.int32)
    pixels = rng.normal(0, 0.3, (ROWS, SIDE, SIDE, 3)).astype(np.float32)
    if carrier == "text":
        place = rng.integers(0, WORDS, ROWS)
        ids[np.arange(ROWS), place] = 2 + labels
    else:
        place = rng.integers(0, 4, ROWS)
        for row, at in enumerate(place):
            top, left = at // 2 * HALF, at % 2 * HALF
            pixels[row, top : top + HALF, left : left + HALF, labels[row]] += 1.5
    whole = twin.batch(ids, np.ones((ROWS, WORDS), bool), pixels)
    return dataclasses.replace(whole, targets={"label": labels.astype(np.int32)}), place


@pytest.fixture(scope="module")
def train():
    """One program for both sets."""
    module = Multimodal(
        encoders={
            "text": BagOfSubwords(vocab_size=24, width=8, combiner="sqrtn"),
            "image": twin.TwoConvolutions(),
        },
        task=Classification(num_labels=LABELS, label_names=("a", "b", "c")),
        fusion=Concat(width=12),
        modality_dropout=0.3,
    )
    compiled: dict = {}
    optimizer = optax.adamw(2e-2, weight_decay=0.02)

    @jax.jit
    def step(params, state, batch, key):
        def loss(params):
            rngs = {"dropout": key}
            return module.apply({"params": params}, batch, train=True, rngs=rngs).loss

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    def fit(params, carrier):
        # New rows in every step: noise that cannot be learnt by heart.
        state = optimizer.init(params)
        for seed in range(STEPS):
            key = jax.random.key(seed)
            params, state = step(params, state, made(carrier, 2 + seed)[0], key)
        return params

    def trained(carrier: str, mesh) -> tuple[Subject, object, np.ndarray]:
        batch, _ = made(carrier, 0)
        shapes = unbox(jax.eval_shape(lambda: module.init(jax.random.key(0), batch, train=False)))
        rng = np.random.default_rng(0)
        start = jax.tree.map(
            lambda leaf: (rng.standard_normal(leaf.shape) * 0.3).astype(np.float32),
            shapes["params"],
        )
        kinds = {"text": "text", "image": "image"}
        test, place = made(carrier, 1)
        variables = {"params": fit(start, carrier)}
        return Subject(module, variables, mesh, kinds, {}, _compiled=compiled), test, place

    return trained


@pytest.fixture(scope="module")
def by_text(train, mesh):
    return train("text", mesh)


@pytest.fixture(scope="module")
def by_image(train, mesh):
    return train("image", mesh)


def quarters(values):
    """The sums of the four quarters of pictures [b h w]."""
    blocks = values.reshape(len(values), 2, HALF, 2, HALF).sum(axis=(2, 4))
    return blocks.reshape(len(values), 4)


@pytest.mark.parametrize("carrier", ["text", "image"])
def test_shapley_values_point_at_the_modality_that_carries_the_label(carrier, request):
    subject, batch, _ = request.getfixturevalue(f"by_{carrier}")
    choice, _ = subject.chosen(batch)
    assert (choice == batch.targets["label"]).mean() >= ENOUGH
    found = Shapley()(subject, batch, choice)
    names = list(found.modalities)
    largest = np.abs(np.stack(list(found.modalities.values()))).argmax(axis=0)
    assert (largest == names.index(carrier)).mean() >= ENOUGH
    # Exact: the mean gain over both orders, and together the whole minus nothing.
    for row, fact in enumerate(found.facts):
        worth = fact["subsets"]
        whole, nothing = worth["text+image"], worth["none"]
        gains = (worth["text"] - nothing, whole - worth["image"])
        assert found.modalities["text"][row] == pytest.approx(np.mean(gains), abs=1e-6)
        total = sum(values[row] for values in found.modalities.values())
        assert total == pytest.approx(whole - nothing, abs=1e-5)
    np.testing.assert_allclose(
        [fact["subsets"]["text+image"] for fact in found.facts], subject.scored(batch, choice)
    )


SLOW = pytest.param(IntegratedGradients(steps=16), marks=pytest.mark.slow)


@pytest.mark.parametrize("method", [SLOW, Occlusion(cells=4)])
def test_the_word_that_carries_the_label_is_found(by_text, method):
    subject, batch, place = by_text
    choice, _ = subject.chosen(batch)
    found = method(subject, batch, choice)
    assert (found.parts["text"].argmax(axis=1) == place).mean() >= ENOUGH


@pytest.mark.parametrize("method", [SLOW, Occlusion(cells=4), GradCam()])
def test_the_region_that_carries_the_label_is_found(by_image, method):
    subject, batch, place = by_image
    choice, _ = subject.chosen(batch)
    found = method(subject, batch, choice)
    assert (quarters(found.parts["image"]).argmax(axis=1) == place).mean() >= ENOUGH


def test_windows_of_cells_slide_over_a_picture(by_image):
    """Against each window hidden by hand."""
    subject, batch, _ = by_image
    choice, _ = subject.chosen(batch)
    before, cell = subject.scored(batch, choice), HALF // 2
    summed = np.zeros((len(before), 2 * HALF, 2 * HALF))
    count = np.zeros_like(summed)
    for top, left in itertools.product(range(-cell, 2 * HALF, cell), repeat=2):
        rows, columns = (slice(max(0, at), at + 2 * cell) for at in (top, left))
        window = np.s_[:, rows, columns]
        pixels = np.array(batch.inputs["image"]["pixel_values"])
        pixels[window] = 0
        inputs = {**batch.inputs, "image": {"pixel_values": pixels}}
        after = subject.scored(dataclasses.replace(batch, inputs=inputs), choice)
        summed[window] += ((before - after) / pixels[0, rows, columns, 0].size)[:, None, None]
        count[window] += 1
    found = Occlusion(cells=4)(subject, batch, choice).parts["image"]
    assert set(count.flat) == {4}
    np.testing.assert_allclose(found, summed / count, atol=1e-5)


@pytest.mark.slow
def test_true_explanations_beat_a_random_order_and_need_the_weights(by_image):
    subject, batch, place = by_image
    choice, _ = subject.chosen(batch)
    method = IntegratedGradients(steps=16)
    parts = {"image": np.asarray(method.parts(subject, subject.ready, batch, choice)["image"])}
    areas = curves(subject, batch, choice, parts, draws=2).areas()
    means = {name: np.nanmean(values) for name, values in areas.items()}
    assert means["deletion"] < means["deletion_random"] - 0.1
    assert means["insertion"] > means["insertion_random"] + 0.1
    like = agreement(subject, batch, choice, method, parts)
    assert np.nanmean(like) < 0.6
    # The truth itself, as an explanation, is as good; its opposite is worse than chance.
    truth = np.zeros((ROWS, SIDE, SIDE))
    for row, at in enumerate(place):
        top, left = at // 2 * HALF, at % 2 * HALF
        truth[row, top : top + HALF, left : left + HALF] = 1
    right = curves(subject, batch, choice, {"image": truth}, draws=1).areas()
    wrong = curves(subject, batch, choice, {"image": -truth}, draws=1).areas()
    assert np.nanmean(right["deletion"]) < means["deletion_random"] < np.nanmean(wrong["deletion"])


@pytest.mark.slow
def test_curves_begin_and_end_where_they_must(by_image):
    subject, batch, _ = by_image
    choice, _ = subject.chosen(batch)
    parts = {n: np.zeros(shape) for n, shape in (("image", (ROWS, SIDE, SIDE)),)}
    found = curves(subject, batch, choice, parts, draws=1)
    whole = subject.scored(batch, choice, "probability")
    empty = {"pixel_values": jnp.zeros((ROWS, SIDE, SIDE, 3))}
    hidden = dataclasses.replace(batch, inputs={**batch.inputs, "image": empty})
    nothing = subject.scored(hidden, choice, "probability")
    for curve in (found.deletion, found.insertion[:, ::-1], found.random_deletion):
        np.testing.assert_allclose(curve[:, 0], whole, atol=1e-5)
        np.testing.assert_allclose(curve[:, -1], nothing, atol=1e-5)
