"""The loss of a student, against Hinton et al. 2015 in NumPy float64."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch

LABELS = np.array([0, 2, 1, 1, 0, 2], np.int32)
ROWS = np.array([1, 1, 1, 1, 1, 0], bool)
FACTS = {"num_labels": 3, "label_names": ("a", "b", "c")}


def made(name="distilled_classification", **options):
    return tasks.registry.build(name, facts=FACTS, **options)


def outputs(task, logits, **targets):
    batch = Batch({}, {}, targets, jnp.asarray(ROWS), jnp.arange(len(ROWS)))
    return task.output(jnp.asarray(logits), batch)


def known(told):
    """With a last column that says which rows the teacher knows: all but those of zeros."""
    return np.concatenate([told, told.any(axis=1, keepdims=True)], axis=1).astype(np.float32)


def test_a_share_of_the_loss_is_the_divergence_from_the_teacher():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3)).astype(np.float32) * 2
    told = reference.softmax(rng.normal(size=(6, 3))).astype(np.float32)
    told[4] = 0  # a row that the teacher does not know
    weight, temperature = 0.4, 3.0
    task = made(teacher_weight=weight, temperature=temperature)
    found = outputs(task, logits, label=LABELS, teacher=known(told))
    p = reference.softmax(np.log(np.float64(told[:4])) / temperature)
    q = reference.softmax(np.float64(logits[:4]) / temperature)
    soft = temperature**2 * np.mean(np.sum(p * (np.log(p) - np.log(q)), axis=1))
    chosen = np.log(reference.softmax(np.float64(logits)))[np.arange(6), LABELS]
    share = weight * 4 / 5
    np.testing.assert_allclose(
        found.loss, (1 - share) * -chosen[:5].mean() + share * soft, rtol=1e-5
    )
    plain = outputs(made("classification"), logits, label=LABELS)
    assert float(outputs(task, logits, label=LABELS).loss) == float(plain.loss)
    assert float(found.weight) == float(plain.weight)
    np.testing.assert_array_equal(found.metrics["confusion"], plain.metrics["confusion"])


def test_settings_out_of_range_are_refused():
    for options in ({"teacher_weight": 1.5}, {"temperature": 0.0}):
        with pytest.raises(ConfigError):
            outputs(made(**options), np.zeros((6, 3)), label=LABELS, teacher=np.ones((6, 4)))


def test_labels_are_each_taught_by_a_divergence_of_their_own():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(6, 3)).astype(np.float32) * 2
    labels, told = rng.random((6, 3)) > 0.5, rng.random((6, 3)).astype(np.float32)
    told[2] = 0
    weight, temperature = 0.3, 2.5
    task = made("distilled_multi_label", teacher_weight=weight, temperature=temperature)
    found = outputs(task, logits, label=labels, teacher=known(told))
    taught = [0, 1, 3, 4]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    z, t = np.float64(logits[taught]), np.float64(told[taught])
    p, q = sigmoid(np.log(t / (1 - t)) / temperature), sigmoid(z / temperature)
    apart = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    y, chance = labels[:5], sigmoid(np.float64(logits[:5]))
    own = -np.mean(y * np.log(chance) + (1 - y) * np.log(1 - chance))
    share = weight * 4 / 5
    wanted = (1 - share) * own + share * temperature**2 * apart.mean()
    np.testing.assert_allclose(found.loss, wanted, rtol=1e-5)


@pytest.mark.parametrize("loss", ["huber", "quantile"])
def test_numbers_are_taught_by_the_loss_of_the_task(loss):
    rng = np.random.default_rng(2)
    facts = {"num_targets": 2, "target_names": ("a", "b")}
    width = 6 if loss == "quantile" else 2
    values, told = (rng.normal(size=(6, width)).astype(np.float32) for _ in range(2))
    labels = rng.normal(size=(6, 2)).astype(np.float32)
    plain, task = (
        tasks.registry.build(name, facts=facts, loss=loss, **options)
        for name, options in (("regression", {}), ("distilled_regression", {"teacher_weight": 1.0}))
    )
    assert float(outputs(task, values, label=labels).loss) == float(
        outputs(plain, values, label=labels).loss
    )
    error = np.abs(np.float64(values) - told)[:5]
    by_loss = {
        "huber": np.where(error < 1, error**2 / 2, error - 0.5),
        "quantile": error**2,
    }
    whole = outputs(task, values, label=labels, teacher=known(told))
    np.testing.assert_allclose(whole.loss, by_loss[loss].mean(), rtol=1e-5)
