"""Combining decisions: each rule against its formula in float64, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.fusion import decisions

ROWS, CLASSES, STEP = 7, 4, 1e-6
RNG = np.random.default_rng(0)
PRESENT = np.array(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]], bool
)
LOGITS = RNG.standard_normal((3, ROWS, CLASSES)) * 2
LOGITS[:, 6] = [[30.0, 0, 0, 0], [0, 30.0, 0, 0], [0, 0.5, 0, 1]]  # two sure heads disagree
WEIGHTS = np.array([0.5, 0.3, 0.2])
PRIOR = np.log([0.4, 0.3, 0.2, 0.1])
UNIFORM = np.full(CLASSES, 1 / CLASSES)


def average(logits, weights=(1, 1, 1)):
    p = sum(weights[head] * reference.softmax(x) for head, x in logits.items())
    return np.log(p / sum(weights[head] for head in logits))


def experts(logits, prior=0.0):
    logs = [np.log(reference.softmax(x)) for x in logits.values()]
    product = sum(logs) - (len(logs) - 1) * prior
    return np.log(reference.softmax(product))


def vote(logits):
    p = [reference.softmax(x) for x in logits.values()]
    votes = sum(np.eye(CLASSES)[x.argmax()] for x in p)
    return np.log((votes + sum(p) / len(p)) / (len(p) + 1))


def dirichlet(logits):
    """Han et al. 2021, definition 4, with the conflict spelled out pair by pair."""
    found = None
    for x in logits.values():
        evidence = np.log1p(np.exp(x))
        strength = evidence.sum() + CLASSES
        b, u = evidence / strength, CLASSES / strength
        if found is None:
            found = b, u
            continue
        a, v = found
        conflict = sum(a[i] * b[j] for i in range(CLASSES) for j in range(CLASSES) if i != j)
        found = (a * b + a * u + b * v) / (1 - conflict), u * v / (1 - conflict)
    strength = CLASSES / found[1]
    alpha = found[0] * strength + 1
    return np.log(alpha / strength)


def log_softmax(logits):
    return jax.nn.log_softmax(logits)


RULES = {
    "average": (lambda x, here: decisions.average(log_softmax(x), here), average),
    "weighted": (
        lambda x, here: decisions.mixture(
            log_softmax(x), decisions.shares(jnp.asarray(WEIGHTS, jnp.float32), here)
        ),
        lambda logits: average(logits, WEIGHTS),
    ),
    "product": (lambda x, here: decisions.product_of_experts(log_softmax(x), here), experts),
    "product with a prior": (
        lambda x, here: decisions.product_of_experts(
            log_softmax(x), here, jnp.asarray(PRIOR, jnp.float32)
        ),
        lambda logits: experts(logits, PRIOR),
    ),
    "vote": (lambda x, here: decisions.majority_vote(log_softmax(x), here), vote),
    "dempster_shafer": (lambda x, here: decisions.dempster_shafer(x, here)[0], dirichlet),
}


def expected(name, logits):
    nothing = PRIOR if name == "product with a prior" else np.log(UNIFORM)
    rows = []
    for row, here in enumerate(PRESENT):
        heads = {head: logits[head, row] for head in np.flatnonzero(here)}
        rows.append(RULES[name][1](heads) if heads else nothing)
    return np.stack(rows)


@pytest.fixture(scope="module")
def found():
    """Results and gradients of every rule, compiled together: `found(logits, present)`."""
    weights = np.random.default_rng(3).standard_normal((ROWS, CLASSES)).astype(np.float32)

    def one(rule, logits, present):
        def loss(logits):
            out = rule(logits, present)
            return jnp.sum(out * weights), out

        return jax.value_and_grad(loss, has_aux=True)(logits)

    @jax.jit
    def run(logits, present):
        return {name: one(rule, logits, present) for name, (rule, _) in RULES.items()}

    call = lambda logits, present=PRESENT: run(  # noqa: E731
        jnp.asarray(logits, jnp.float32), jnp.asarray(present)
    )
    return call, weights


@pytest.fixture(scope="module")
def ran(found):
    return found[0](LOGITS)


@pytest.mark.parametrize("name", RULES)
def test_agrees_with_its_formula(name, ran, found):
    (_, out), grads = ran[name]
    np.testing.assert_allclose(out, expected(name, LOGITS), atol=3e-5)
    np.testing.assert_allclose(np.exp(np.float64(out)).sum(axis=-1), 1, atol=1e-5)
    rng, weights = np.random.default_rng(1), np.float64(found[1])
    for _ in range(4):
        direction = rng.standard_normal(LOGITS.shape)
        ends = [
            (expected(name, LOGITS + sign * STEP * direction) * weights).sum() for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / (2 * STEP)
        assert (np.float64(grads) * direction).sum() == pytest.approx(slope, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", RULES)
def test_what_an_absent_modality_holds_changes_nothing(name, ran, found):
    absent = ~PRESENT.T[:, :, None]
    (_, out), grads = found[0](np.where(absent, 1e3, LOGITS))[name]
    np.testing.assert_array_equal(out, ran[name][0][1])
    np.testing.assert_array_equal(grads, ran[name][1])
    assert not np.asarray(grads)[np.broadcast_to(absent, grads.shape)].any()
    assert np.isfinite(np.asarray(grads)).all()


@pytest.mark.parametrize("name", [name for name in RULES if name != "weighted"])
def test_an_absent_modality_is_as_none(name, ran):
    """Rows without the third modality: bit for bit what the first two alone give."""
    rows = np.flatnonzero(~PRESENT[:, 2])
    logits = jnp.asarray(LOGITS[:2, rows], jnp.float32)
    alone = jax.jit(RULES[name][0])(logits, jnp.asarray(PRESENT[rows, :2]))
    np.testing.assert_array_equal(alone, np.asarray(ran[name][0][1])[rows])


def test_rows_do_not_see_each_other(ran, found):
    order = RNG.permutation(ROWS)
    other = found[0](LOGITS[:, order], PRESENT[order])
    for name in RULES:
        np.testing.assert_allclose(other[name][0][1], ran[name][0][1][order], atol=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "winner"),
    [
        ([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.4, 0.6, 0.0]], 1),  # two votes to one
        ([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0]], 0),  # a vote each: the higher mean
        ([[0.1, 0.9, 0.0], [0.0, 0.4, 0.6]], 1),
        ([[0.2, 0.2, 0.6], [0.6, 0.2, 0.2]], 0),  # and the same mean: the lower index
    ],
)
def test_votes_and_ties(probabilities, winner):
    log_p = jnp.log(jnp.maximum(jnp.asarray(probabilities, jnp.float32), 1e-30))[:, None]
    out = decisions.majority_vote(log_p, jnp.ones((1, len(probabilities)), bool))
    assert int(jnp.argmax(out)) == winner


def test_uncertainty_falls_with_evidence_and_is_whole_without():
    logits = jnp.asarray([[[8.0, 0, 0, 0]], [[8.0, 0, 0, 0]]])
    doubts = [
        float(decisions.dempster_shafer(logits, jnp.asarray([here]))[1][0])
        for here in ([True, True], [True, False], [False, False])
    ]
    assert doubts[0] < doubts[1] < doubts[2] == 1.0


def test_stacking_features_are_stopped():
    log_p = jax.nn.log_softmax(jnp.asarray(LOGITS, jnp.float32))
    here = jnp.asarray(PRESENT)
    features = decisions.stacking_features(log_p, here)
    kept = np.where(PRESENT.T[:, :, None], np.asarray(log_p), 0)
    np.testing.assert_array_equal(features[:, : 3 * CLASSES], np.concatenate(kept, axis=-1))
    np.testing.assert_array_equal(features[:, 3 * CLASSES :], PRESENT)

    def slopes(**options):
        whole = jax.grad(lambda x: decisions.stacking_features(x, here, **options).sum())(log_p)
        return np.asarray(whole)

    assert not slopes().any()
    np.testing.assert_array_equal(
        slopes(stopped=False), np.where(PRESENT.T[:, :, None], 1, 0 * log_p)
    )


def test_weighted_values():
    values = jnp.asarray([[1.0, 2.0], [10.0, jnp.nan]])
    found = decisions.weighted_values(values, jnp.asarray([[0.5, 2.0], [3.0, 0.0]]))
    np.testing.assert_array_equal(found, [20.5, 6.0])
