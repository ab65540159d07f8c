"""What holds for tasks of classes, labels, ranks and numbers, and for what their batches lack."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax import tasks
from mmjax.core.types import Batch, Fused

ROWS = 6
LABELS = np.array([0, 1, 2, 2, 1, 0], np.int32)
FACTS = {
    "num_labels": 3,
    "label_counts": (2, 2, 2),
    "label_rows": 6,
    "num_targets": 2,
    "target_names": ("a", "b"),
    "target_means": (5.0, -1.0),
    "target_deviations": (2.0, 0.1),
    "num_answers": 3,
    "type_names": ("other", "yes/no"),
}
TARGETS = {
    "classification": LABELS,
    "ordinal": LABELS,
    "multi_label": np.eye(3, dtype=bool)[LABELS],
    "regression": np.random.default_rng(0).normal(size=(ROWS, 2)).astype(np.float32),
    "answer_selection": np.array([[1, 1], [1, 0], [2, 0]] * 2, np.int32),
    "vqa": np.array([[0, 0, 0, 0], [1, 2, 2, -1], [0, 1, 1, -2]] * 2, np.int32),
}
OPTIONS = {
    "classification": [{}],
    "ordinal": [{}, {"method": "cumulative_link"}],
    "multi_label": [{}],
    "regression": [{}, {"loss": "quantile"}],
    "answer_selection": [{}],
    "vqa": [{}, {"loss": "softmax"}],
}
CASES = [
    pytest.param(name, options, id="-".join([name, *options.values()]))
    for name in OPTIONS
    for options in OPTIONS[name]
]
MASK = np.array([True] * 4 + [False] * 2)


def _batch(name, mask=MASK, *, labelled=True):
    targets = {"label": jnp.asarray(TARGETS[name])} if labelled else {}
    return Batch({}, {}, targets, jnp.asarray(mask), jnp.arange(len(mask)))


def _build(name, options, **facts):
    return tasks.registry.build(name, facts={**FACTS, **facts}, **options)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_shapes_and_types_in_half_precision(name, options):
    task = _build(name, options, dtype=jnp.bfloat16)
    fused = Fused(jnp.ones((ROWS, 2, 4)), jnp.ones((ROWS, 2), bool), jnp.ones((ROWS, 4)), {})
    output, _ = jax.eval_shape(
        lambda: task.init_with_output(jax.random.key(0), fused, _batch(name), train=False)
    )
    assert output.loss.shape == output.weight.shape == ()
    assert output.loss.dtype == output.weight.dtype == jnp.float32
    assert all(value.shape[0] == ROWS for value in output.predictions.values())
    assert all(value.dtype == jnp.float32 for value in output.metrics.values())
    outputs = jax.eval_shape(
        lambda: task.init_with_output(jax.random.key(0), fused, train=False, method="head_outputs")
    )[0]
    truth = jax.eval_shape(lambda: task.truth(_batch(name)))
    assert truth.shape == outputs.shape
    # Ranks within questions need every row, so that no sums give them.
    assert set(task.headline) - {"mrr", "map"} <= set(
        task.compute(jax.tree.map(lambda s: np.ones(s.shape), output.metrics))
    )


@pytest.mark.parametrize(("name", "options"), CASES)
def test_padding_counts_nowhere_and_micro_batches_add_up(name, options):
    task = _build(name, options)
    width = {"regression": 6 if options else 2, "answer_selection": 1}.get(name, 3)
    outputs = jnp.asarray(np.random.default_rng(1).normal(size=(ROWS, width)), jnp.float32)

    @jax.jit
    def run(outputs, batch):
        def loss(outputs):
            found = task.output(outputs, batch)
            return found.loss, found

        return jax.grad(loss, has_aux=True)(outputs)

    grads, found = run(outputs, _batch(name))
    assert np.asarray(grads)[:4].any(axis=1).all()
    assert not np.asarray(grads)[4:].any()
    spoilt = jnp.where(MASK[:, None], outputs, 50.0)
    clean, other = run(spoilt, _batch(name))
    np.testing.assert_array_equal(grads, clean)
    jax.tree.map(
        np.testing.assert_array_equal,
        (found.loss, found.weight, found.metrics),
        (other.loss, other.weight, other.metrics),
    )
    total = weight = 0.0
    for mask in (np.arange(ROWS) < 3, np.arange(ROWS) == 3):
        _, part = run(outputs, _batch(name, mask))
        total += float(part.loss) * float(part.weight)
        weight += float(part.weight)
    assert weight == pytest.approx(float(found.weight))
    assert total / weight == pytest.approx(float(found.loss), rel=1e-6)
    grads, nothing = run(outputs, _batch(name, np.zeros(ROWS, bool)))
    assert float(nothing.loss) == float(nothing.weight) == 0.0
    assert not np.asarray(grads).any()
    unlabelled = jax.eval_shape(lambda: task.output(outputs, _batch(name, labelled=False)))
    assert unlabelled.metrics == {}
    assert task.truth(_batch(name, labelled=False)) is None
