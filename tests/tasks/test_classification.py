import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight

from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch, Fused

NAMES = ("bird", "fish", "stone")
RNG = np.random.default_rng(0)
ROWS = 12
LOGITS = (RNG.standard_normal((ROWS, 3)) * 2).astype(np.float32)
LABELS = np.array([0, 1, 0, 2, 0, 0, 1, 2, 0, 1, -1, -1], np.int32)
MASK = LABELS >= 0
KEPT = LOGITS[MASK].astype(np.float64), LABELS[MASK]
COUNTS = tuple(np.bincount(KEPT[1]).tolist())


def make_batch(labels=LABELS, mask=MASK, target="label"):
    targets = {} if labels is None else {target: jnp.asarray(labels)}
    rows = jnp.arange(len(mask), dtype=jnp.int32)
    return Batch({}, {}, targets, jnp.asarray(mask), rows)


def build(**options):
    facts = {"num_labels": 3, "label_names": NAMES, "label_counts": COUNTS}
    return tasks.registry.build("classification", facts=facts, **options)


def output_of(task, batch=None, logits=LOGITS):
    batch = make_batch() if batch is None else batch
    return jax.jit(lambda logits, batch: task.output(logits, batch))(jnp.asarray(logits), batch)


def test_the_head_is_a_dense_layer():
    task = build()
    pooled = jnp.asarray(RNG.standard_normal((ROWS, 4)), jnp.float32)
    fused = Fused(pooled[:, None], jnp.ones((ROWS, 1), bool), pooled, {"text": (0, 1)})
    variables = reference.random_variables(task, fused, make_batch(), train=False)
    output = jax.jit(lambda: task.apply(variables, fused, make_batch(), train=False))()
    logits = reference.dense(reference.double(variables["params"]["head"]), np.float64(pooled))
    np.testing.assert_allclose(
        output.predictions["probabilities"], reference.softmax(logits), atol=1e-6
    )


@pytest.mark.parametrize(
    "scheme", ["none", "balanced", (0.5, 2.0, 0.0)], ids=["none", "balanced", "given"]
)
def test_loss_agrees_with_scikit_learn(scheme):
    logits, labels = KEPT
    weights = {
        "none": np.ones(3),
        "balanced": compute_class_weight("balanced", classes=np.arange(3), y=labels),
    }.get(scheme, scheme)
    weights = np.asarray(weights, np.float64)[labels]
    output = output_of(build(class_weights=scheme))
    expected = log_loss(labels, reference.softmax(logits), sample_weight=weights)
    assert float(output.loss) == pytest.approx(expected, rel=1e-6)
    assert float(output.weight) == pytest.approx(weights.sum(), rel=1e-6)


def test_weights_by_effective_numbers():
    """Cui et al. 2019, equation 3, brought to a sum of the number of classes."""
    logits, labels = KEPT
    beta = 0.9
    weights = np.array([(1 - beta) / (1 - beta**count) for count in COUNTS])
    weights = 3 * weights / weights.sum()
    output = output_of(build(class_weights="effective", beta=beta))
    expected = log_loss(labels, reference.softmax(logits), sample_weight=weights[labels])
    assert float(output.loss) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ConfigError, match="beta = 1"):
        output_of(build(class_weights="effective", beta=1.0))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_and_its_gradient(smoothing):
    """Lin et al. 2017, equation 4, for each class; the gradient by differences in float64."""
    logits, labels = KEPT
    wanted = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3

    def focal(logits):
        p = reference.softmax(logits)
        return -(wanted * (1 - p) ** 1.5 * np.log(p)).sum(1).mean()

    task = build(loss="focal", gamma=1.5, label_smoothing=smoothing)
    loss, grads = jax.jit(
        jax.value_and_grad(lambda logits: task.output(logits, make_batch()).loss)
    )(jnp.asarray(LOGITS))
    assert float(loss) == pytest.approx(focal(logits), rel=1e-6)
    np.testing.assert_allclose(
        np.asarray(grads)[MASK], reference.gradient(focal, logits), atol=1e-7
    )
    assert np.isfinite(float(output_of(task, logits=[[200.0, -200.0, 0.0]] * ROWS).loss))
    with pytest.raises(ConfigError, match="gamma = -1"):
        output_of(build(loss="focal", gamma=-1.0))


def test_a_hidden_layer_makes_the_head_an_mlp():
    task = build(hidden=5, activation="relu")
    pooled = jnp.asarray(RNG.standard_normal((ROWS, 4)), jnp.float32)
    fused = Fused(pooled[:, None], jnp.ones((ROWS, 1), bool), pooled, {"text": (0, 1)})
    variables = reference.random_variables(task, fused, make_batch(), train=False)
    output = jax.jit(lambda: task.apply(variables, fused, make_batch(), train=False))()
    params = reference.double(variables["params"])
    inner = np.maximum(reference.dense(params["hidden"], np.float64(pooled)), 0)
    logits = reference.dense(params["head"], inner)
    np.testing.assert_allclose(
        output.predictions["probabilities"], reference.softmax(logits), atol=1e-6
    )


def test_label_smoothing_mixes_in_the_uniform_distribution():
    logits, labels = KEPT
    log_p = np.log(reference.softmax(logits))
    wanted = 0.9 * np.eye(3)[labels] + 0.1 / 3
    output = output_of(build(label_smoothing=0.1))
    assert float(output.loss) == pytest.approx(float(-(wanted * log_p).sum(1).mean()), rel=1e-6)


def test_metrics_agree_with_scikit_learn():
    task = build(label_smoothing=0.1, class_weights="balanced")
    output = output_of(task)
    found = task.compute(output.metrics)
    logits, labels = KEPT
    predicted = logits.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(log_loss(labels, reference.softmax(logits)))
    assert found["support/bird"] == COUNTS[0]
    rows = {"probabilities": np.asarray(output.predictions["probabilities"])[MASK]}
    whole = task.evaluate(rows, {"label": labels})
    assert {name: whole[name] for name in found} == pytest.approx(found, abs=1e-6)


def test_padding_rows_count_nowhere():
    """Whatever their logits and labels are, in loss, gradient, weight and metrics."""
    task = build(class_weights="balanced", label_smoothing=0.1)

    @jax.jit
    def run(logits, labels):
        def loss(logits):
            output = task.output(logits, make_batch(labels))
            return output.loss, output

        return jax.grad(loss, has_aux=True)(logits)

    grads, ours = run(jnp.asarray(LOGITS), LABELS)
    assert np.isfinite(float(ours.loss))
    assert not np.asarray(grads)[~MASK].any()
    assert np.asarray(grads)[MASK].all()
    other_grads, other = run(jnp.where(MASK[:, None], LOGITS, 50.0), np.where(MASK, LABELS, 1))
    np.testing.assert_array_equal(grads, other_grads)
    keep = lambda output: (output.loss, output.weight, output.metrics)  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, keep(ours), keep(other))
    shorter = output_of(task, make_batch(LABELS[MASK], MASK[MASK]), LOGITS[MASK])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), keep(ours), keep(shorter)
    )


def test_a_batch_of_padding_alone_is_finite_and_weighs_nothing():
    task = build()
    nothing = make_batch(mask=np.zeros(ROWS, bool))

    def loss(logits):
        output = task.output(logits, nothing)
        return output.loss, output

    grads, output = jax.jit(jax.grad(loss, has_aux=True))(jnp.asarray(LOGITS))
    assert float(output.loss) == float(output.weight) == 0.0
    assert not np.asarray(grads).any()
    assert np.isnan(task.compute(output.metrics)["accuracy"])


def test_micro_batches_weighted_by_their_weight_are_the_whole():
    task = build(class_weights="balanced")
    parts = [
        output_of(task, make_batch(LABELS[part], MASK[part]), LOGITS[part])
        for part in (slice(0, 4), slice(4, 8), slice(8, 12))
    ]
    whole = output_of(task)
    weight = sum(float(part.weight) for part in parts)
    loss = sum(float(part.loss) * float(part.weight) for part in parts) / weight
    assert weight == pytest.approx(float(whole.weight), rel=1e-6)
    assert loss == pytest.approx(float(whole.loss), rel=1e-6)


def test_without_its_target_a_batch_gives_predictions_only():
    output = output_of(build(), make_batch(None))
    assert float(output.loss) == float(output.weight) == 0.0
    assert output.metrics == {}
    assert output.predictions["probabilities"].shape == (ROWS, 3)


def test_bfloat16_logits_give_a_loss_in_float32():
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    output = output_of(build(), logits=logits)
    exact = reference.softmax(np.float64(np.asarray(logits, np.float32))[MASK])
    assert float(output.loss) == pytest.approx(log_loss(LABELS[MASK], exact), rel=1e-6)


def test_class_weights_of_the_wrong_length_are_refused():
    with pytest.raises(ConfigError, match=r"2 class weights for 3 labels.*task\.class_weights"):
        output_of(build(class_weights=(1.0, 2.0)))


def test_decode_is_one_plain_dictionary_a_row():
    probabilities = np.array([[0.25, 0.5, 0.25], [0.5, 0.5, 0.0]], np.float32)
    expected = [
        {
            "label": "fish",
            "probability": 0.5,
            "probabilities": {"bird": 0.25, "fish": 0.5, "stone": 0.25},
        },
        {
            "label": "bird",
            "probability": 0.5,
            "probabilities": {"bird": 0.5, "fish": 0.5, "stone": 0.0},
        },
    ]
    assert build().decode({"probabilities": probabilities}) == expected
    nameless = tasks.build("classification", num_labels=3)
    assert nameless.decode({"probabilities": probabilities})[0]["label"] == "1"
