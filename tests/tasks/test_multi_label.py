import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from sklearn.metrics import f1_score, log_loss

from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch

NAMES = ("red", "big", "old", "new")
RNG = np.random.default_rng(0)
LOGITS = (2 * RNG.standard_normal((10, 4))).astype(np.float32)
LABELS = RNG.random((10, 4)) < 0.4
COUNTS = tuple(LABELS.sum(0).tolist())


def _build(**options):
    facts = {"num_labels": 4, "label_names": NAMES, "label_counts": COUNTS, "label_rows": 10}
    return tasks.registry.build("multi_label", facts=facts, **options)


def _batch():
    mask = jnp.ones(10, bool)
    return Batch({}, {}, {"label": jnp.asarray(LABELS)}, mask, jnp.arange(10))


def _loss_and_gradient(task):
    run = jax.jit(jax.value_and_grad(lambda logits: task.output(logits, _batch()).loss))
    loss, grads = run(jnp.asarray(LOGITS))
    return float(loss), np.asarray(grads)


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def _cross_entropy(logits, weights=1.0, smoothing=0.0):
    p, truth = _sigmoid(logits), LABELS * (1 - smoothing) + smoothing / 2
    return -(weights * truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()


def _focal(logits, gamma=1.5, alpha=0.25):
    p = _sigmoid(logits)
    yes, no = -((1 - p) ** gamma) * np.log(p), -(p**gamma) * np.log(1 - p)
    return np.where(LABELS, alpha * yes, (1 - alpha) * no).mean()


def _asymmetric(logits, gammas=(1.0, 3.0), margin=0.05):
    p = _sigmoid(logits)
    q = np.maximum(p - margin, 0)
    yes, no = -((1 - p) ** gammas[0]) * np.log(p), -(q ** gammas[1]) * np.log(1 - q)
    return np.where(LABELS, yes, no).mean()


BALANCED = (10 - np.array(COUNTS)) / np.array(COUNTS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, _cross_entropy),
        ({"label_smoothing": 0.2}, lambda x: _cross_entropy(x, smoothing=0.2)),
        ({"pos_weight": "balanced"}, lambda x: _cross_entropy(x, BALANCED)),
        ({"pos_weight": (1.0, 2.0, 0.5, 3.0)}, lambda x: _cross_entropy(x, [1, 2, 0.5, 3])),
        ({"loss": "focal", "gamma": 1.5, "alpha": 0.25}, _focal),
        ({"loss": "focal"}, lambda x: 2 * _focal(x, 2.0, 0.5)),
        ({"loss": "asymmetric", "gammas": (1.0, 3.0)}, _asymmetric),
        ({"loss": "asymmetric", "gammas": (0.0, 0.0), "margin": 0.0}, _cross_entropy),
    ],
    ids=["plain", "smoothed", "balanced", "weights", "focal", "no alpha", "asymmetric", "neither"],
)
def test_losses_and_gradients_by_their_papers(options, expected):
    loss, grads = _loss_and_gradient(_build(**options))
    assert loss == pytest.approx(expected(np.float64(LOGITS)), rel=1e-5)
    np.testing.assert_allclose(grads, reference.gradient(expected, LOGITS), atol=2e-7)


def test_cross_entropy_agrees_with_scikit_learn():
    columns = [log_loss(LABELS[:, i], _sigmoid(LOGITS[:, i])) for i in range(4)]
    assert _loss_and_gradient(_build())[0] == pytest.approx(np.mean(columns), rel=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "asymmetric"])
def test_certain_mistakes_have_finite_gradients(loss):
    extreme = jnp.where(jnp.asarray(LABELS), -200.0, 200.0)
    task = _build(loss=loss, gamma=0.5, gammas=(0.5, 0.5))
    gradient = jax.jit(jax.grad(lambda x: task.output(x, _batch()).loss))
    for logits in (extreme, -extreme):
        grads = gradient(logits)
        assert np.isfinite(np.asarray(grads)).all()


def test_thresholds_are_tuned_kept_and_used():
    task = _build()
    rows = {"probabilities": _sigmoid(LOGITS).astype(np.float32)}
    targets = {"label": LABELS}
    plain = task.evaluate(rows, targets)
    assert plain["threshold/red"] == 0.5
    facts = task.tune(rows, targets)
    tuned = task.clone(thresholds=tuple(facts["thresholds"]))
    found = tuned.evaluate(rows, targets)
    predicted = rows["probabilities"] >= np.asarray(facts["thresholds"])
    assert found["macro_f1"] == pytest.approx(f1_score(LABELS, predicted, average="macro"))
    assert found["macro_f1"] > plain["macro_f1"]
    assert found["map"] == plain["map"]
    decoded = tuned.decode(rows)
    assert [set(one["labels"]) for one in decoded] == [
        {name for name, given in zip(NAMES, row, strict=True) if given} for row in predicted
    ]
    shares = list(decoded[0]["probabilities"].values())
    assert shares == sorted(shares, reverse=True)
    shared = _build(tuned_thresholds="shared").tune(rows, targets)["thresholds"]
    assert len(set(shared)) == 1
    assert _build(tuned_thresholds="none").tune(rows, targets) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pos_weight": (1.0,)}, "1 weights for 4 labels"),
        ({"loss": "focal", "gamma": -1.0}, "gamma = -1"),
        ({"loss": "focal", "alpha": 2.0}, "alpha = 2"),
        ({"loss": "asymmetric", "margin": 1.0}, "margin = 1"),
        ({"loss": "asymmetric", "gammas": (0.0, -1.0)}, "gammas"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        _build(**options).output(jnp.asarray(LOGITS), _batch())
