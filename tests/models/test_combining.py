"""The combinations that learn, and outputs of every kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import models
from mmjax.models.combining import Heads

RNG = np.random.default_rng(0)
ROWS, NAMES = 40, ("audio", "image", "text")
PRESENT = RNG.random((ROWS, 3)) < 0.8
PRESENT[0] = False
COUNTS = np.arange(ROWS) < ROWS - 3
SHAPES = {"classes": (4,), "labels": (3,), "values": (2,)}


def heads_of(kind):
    outputs = RNG.standard_normal((3, ROWS, *SHAPES[kind])).astype(np.float32)
    if kind == "classes":
        truth = np.eye(4)[RNG.integers(0, 4, ROWS)]
        outputs += 2 * np.array([1.0, 0.3, 0.6])[:, None, None] * truth
    elif kind == "labels":
        truth = RNG.integers(0, 2, (ROWS, 3))
        outputs += np.array([2.0, 0.5, 1.0])[:, None, None] * (2 * truth - 1)
    else:
        truth = RNG.standard_normal((ROWS, 2))
        outputs = outputs * 0.5 + np.array([1.0, 0.3, -0.7])[:, None, None] * truth
    return Heads(
        jnp.asarray(outputs, jnp.float32),
        jnp.asarray(PRESENT),
        jnp.asarray(COUNTS),
        jnp.asarray(truth, jnp.float32),
    )


HEADS = {kind: heads_of(kind) for kind in SHAPES}


def module_of(name, kind, **options):
    return models.combinations.build(name, facts={"names": NAMES, "kind": kind}, **options)


def probabilities(kind):
    outputs = np.float64(HEADS[kind].outputs)
    if kind == "values":
        return outputs
    if kind == "classes":
        return reference.softmax(outputs)
    yes = 1 / (1 + np.exp(-outputs))
    return np.stack([1 - yes, yes], axis=-1)


def back(p, kind):
    """Probabilities as outputs of a task."""
    if kind == "values":
        return p
    return np.log(p) if kind == "classes" else np.log(p[..., 1]) - np.log(p[..., 0])


@pytest.mark.parametrize("kind", SHAPES)
def test_average_of_every_kind_of_output(kind):
    module = module_of("average", kind)
    found = jax.jit(lambda heads: module.apply({}, heads, train=False))(HEADS[kind])
    shape = (3, ROWS, *[1] * (probabilities(kind).ndim - 2))
    weights = PRESENT / np.maximum(PRESENT.sum(axis=1, keepdims=True), 1)
    mean = (probabilities(kind) * weights.T.reshape(shape)).sum(axis=0)
    some = PRESENT.any(axis=1)
    np.testing.assert_allclose(np.asarray(found.outputs)[some], back(mean[some], kind), atol=1e-5)
    undecided = {"classes": np.log(1 / 4), "labels": 0.0, "values": 0.0}[kind]
    np.testing.assert_allclose(np.asarray(found.outputs)[~some], undecided, atol=1e-6)
    np.testing.assert_allclose(found.weights, weights, atol=1e-6)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_the_majority_decides(kind):
    module = module_of("majority_vote", kind)
    found = jax.jit(lambda heads: module.apply({}, heads, train=False))(HEADS[kind]).outputs
    p = probabilities(kind)
    for row in np.flatnonzero(PRESENT.any(axis=1)):
        own = p[PRESENT[row], row]
        votes = np.eye(own.shape[-1])[own.argmax(axis=-1)].sum(axis=0)
        score = (votes + own.mean(axis=0)) / (len(own) + 1)
        np.testing.assert_allclose(found[row], back(score, kind), atol=1e-5)


@pytest.mark.parametrize("kind", SHAPES)
def test_solved_weights_are_those_of_least_squared_error(kind):
    """Of the rows that count, absent parts being 0; of probabilities on the plane of sum 1."""
    module = module_of("weighted", kind, weights="solved", ridge=0.0)
    heads = HEADS[kind]

    @jax.jit
    def run(heads):
        empty = module.init({}, heads, train=False)
        before = module.apply(empty, heads, train=False)
        during, moved = module.apply(empty, heads, train=True, mutable=["batch_stats"])
        return before, during, module.apply(moved, heads, train=False), moved

    before, during, after, moved = run(heads)
    equal = PRESENT / np.maximum(PRESENT.sum(axis=1, keepdims=True), 1)
    if kind == "values":
        equal = PRESENT / 3
    np.testing.assert_allclose(before.weights, equal, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, during, after)

    counted = PRESENT & COUNTS[:, None]
    parts = probabilities(kind)
    shape = (3, ROWS, *[1] * (parts.ndim - 2))
    parts = np.where(counted.T.reshape(shape), parts, 0)
    truth = np.float64(heads.truth)
    if kind == "labels":
        truth = np.stack([1 - truth, truth], axis=-1)
    aim = np.where(counted.any(axis=1).reshape(shape[1:]), truth, 0).ravel()
    columns = parts.reshape(3, -1).T
    if kind == "values":
        expected = np.linalg.lstsq(columns, aim, rcond=None)[0]
        applied = np.where(PRESENT, expected, 0)
    else:
        # w = (1 - a - b, a, b)
        shifted = columns[:, 1:] - columns[:, :1]
        rest = np.linalg.lstsq(shifted, aim - columns[:, 0], rcond=None)[0]
        expected = np.maximum([1 - rest.sum(), *rest], 0)
        applied = np.where(PRESENT, expected, 0)
        total = applied.sum(axis=1, keepdims=True)
        applied = np.where(total > 0, applied / np.where(total > 0, total, 1), equal)
    np.testing.assert_allclose(after.weights, applied, atol=2e-4)
    stats = moved["batch_stats"]
    assert float(stats["rows"]) == pytest.approx(0.05 * counted.any(axis=1).sum(), rel=1e-5)


@pytest.mark.parametrize("kind", SHAPES)
def test_stacking_starts_as_the_mean_of_the_heads(kind):
    module = module_of("stacking", kind)
    whole = HEADS[kind].replace(present=jnp.ones(PRESENT.shape, bool))
    found, _ = module.init_with_output(jax.random.key(0), whole, train=False)
    given = probabilities(kind)
    given = given if kind == "values" else np.log(given)
    expected = given.mean(axis=0)
    expected = expected if kind == "values" else back(reference.softmax(expected), kind)
    np.testing.assert_allclose(found.outputs, expected, atol=1e-5)


@pytest.mark.parametrize("kind", SHAPES)
def test_stacking_is_a_dense_layer_on_what_the_heads_say(kind):
    module = module_of("stacking", kind)
    variables = reference.random_variables(module, HEADS[kind], train=False)

    def outputs(heads, *, train):
        return module.apply(variables, heads, train=train).outputs

    def slopes(heads, *, train):
        said = lambda x: outputs(heads.replace(outputs=x), train=train)[..., 0].sum()  # noqa: E731
        return np.asarray(jax.grad(said)(heads.outputs))

    found = jax.jit(functools.partial(outputs, train=False))(HEADS[kind])
    given = probabilities(kind)
    given = given if kind == "values" else np.log(given)
    shape = (3, ROWS, *[1] * (given.ndim - 2))
    here = np.broadcast_to(PRESENT.T.reshape(shape), (*given.shape[:-1], 1))
    seen = np.concatenate([*np.where(here, given, 0), *(here * 1.0)], axis=-1)
    expected = reference.dense(reference.double(variables["params"]["out"]), seen)
    expected = back(reference.softmax(expected), kind) if kind != "values" else expected
    some = PRESENT.any(axis=1)
    np.testing.assert_allclose(np.asarray(found)[some], expected[some], atol=1e-4)
    undecided = {"classes": np.log(1 / 4), "labels": 0.0, "values": 0.0}[kind]
    np.testing.assert_allclose(np.asarray(found)[~some], undecided, atol=1e-6)
    assert not slopes(HEADS[kind], train=True).any()
    assert slopes(HEADS[kind], train=False).any()
