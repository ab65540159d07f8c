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


def test_a_share_of_the_loss_is_the_divergence_from_the_teacher():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3)).astype(np.float32) * 2
    told = reference.softmax(rng.normal(size=(6, 3))).astype(np.float32)
    told[4] = 0  # a row that the teacher does not know
    weight, temperature = 0.4, 3.0
    task = made(teacher_weight=weight, temperature=temperature)
    found = outputs(task, logits, label=LABELS, teacher=told)
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
            outputs(made(**options), np.zeros((6, 3)), label=LABELS, teacher=np.ones((6, 3)))
