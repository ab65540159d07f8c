import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from mmjax import tasks
from mmjax.core.types import Batch, Fused
from mmjax.tasks.ordinal import corn_log_probabilities, cumulative_link_log_probabilities

NAMES = ("poor", "fair", "good", "great")
RNG = np.random.default_rng(0)
ROWS = 30
LABELS = RNG.integers(0, 4, ROWS).astype(np.int32)
LOGITS = (2 * RNG.standard_normal((ROWS, 3))).astype(np.float32)


def _build(**options):
    facts = {"num_labels": 4, "label_names": NAMES, "label_counts": (9, 7, 8, 6)}
    return tasks.registry.build("ordinal", facts=facts, **options)


def _batch():
    mask = jnp.ones(ROWS, bool)
    return Batch({}, {}, {"label": jnp.asarray(LABELS)}, mask, jnp.arange(ROWS))


def _output():
    task = _build()
    return jax.jit(lambda x: task.output(corn_log_probabilities(x), _batch()))(LOGITS)


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def _corn(logits):
    """The paper's loss, task by task, as its reference implementation sums it."""
    total = count = 0
    for k in range(3):
        chosen = k <= LABELS  # those above rank k - 1
        above = LABELS[chosen] > k
        p = _sigmoid(logits[chosen, k])
        total -= np.where(above, np.log(p), np.log(1 - p)).sum()
        count += chosen.sum()
    return total / count


def test_corn_loss_and_gradient_by_its_paper():
    task = _build()
    loss, grads = jax.jit(
        jax.value_and_grad(
            lambda logits: task.output(corn_log_probabilities(logits), _batch()).loss
        )
    )(jnp.asarray(LOGITS))
    assert float(loss) == pytest.approx(_corn(np.float64(LOGITS)), rel=1e-6)
    np.testing.assert_allclose(grads, reference.gradient(_corn, LOGITS), atol=1e-7)


def test_corn_ranks_are_the_products_above_one_half():
    output = _output()
    above = np.cumprod(_sigmoid(LOGITS), axis=1)
    np.testing.assert_array_equal(output.predictions["rank"], (above > 0.5).sum(1))
    wanted = np.diff(np.concatenate([np.ones((ROWS, 1)), above, np.zeros((ROWS, 1))], 1)) * -1
    np.testing.assert_allclose(output.predictions["probabilities"], wanted, atol=1e-6)


def test_cumulative_link_by_its_formula():
    score, cuts = LOGITS[:, 0], np.array([-1.0, 0.5, 0.6], np.float32)
    found = jax.jit(cumulative_link_log_probabilities)(score, cuts)
    upto = _sigmoid(cuts[None].astype(np.float64) - score[:, None])
    wanted = np.diff(np.concatenate([np.zeros((ROWS, 1)), upto, np.ones((ROWS, 1))], 1))
    np.testing.assert_allclose(np.exp(np.float64(found)), wanted, rtol=2e-5)
    extreme = np.where(np.arange(ROWS) % 2, 200.0, -200.0).astype(np.float32)
    assert np.isfinite(jax.jit(cumulative_link_log_probabilities)(extreme, cuts)).all()


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("method", ["corn", "cumulative_link"])
def test_the_head_gives_a_distribution(method, classes):
    task = _build(method=method).clone(num_labels=classes, label_names=())
    pooled = jnp.asarray(RNG.standard_normal((ROWS, 6)), jnp.float32)
    fused = Fused(pooled[:, None], jnp.ones((ROWS, 1), bool), pooled, {"text": (0, 1)})
    variables = reference.random_variables(task, fused, train=False, method="head_outputs")
    found = jax.jit(lambda: task.apply(variables, fused, train=False, method="head_outputs"))()
    assert found.shape == (ROWS, classes)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-6)
    assert all(leaf.size for leaf in jax.tree.leaves(variables))


def test_metrics_agree_with_scikit_learn_and_decode():
    task, output = _build(), _output()
    rank = np.asarray(output.predictions["rank"])
    found = task.compute(output.metrics)
    assert found["mae"] == pytest.approx(mean_absolute_error(LABELS, rank))
    kappa = cohen_kappa_score(LABELS, rank, weights="quadratic", labels=range(4))
    assert found["quadratic_kappa"] == pytest.approx(kappa)
    chances = np.asarray(output.predictions["probabilities"], np.float64)
    assert found["log_loss"] == pytest.approx(
        -np.log(chances[np.arange(ROWS), LABELS]).mean(), rel=1e-5
    )
    rows = {name: np.asarray(value) for name, value in output.predictions.items()}
    first = task.decode(rows)[0]
    assert first["label"] == NAMES[first["rank"]] == NAMES[rank[0]]
    assert first["expected_rank"] == pytest.approx(chances[0] @ np.arange(4))
    assert list(first["probabilities"]) == list(NAMES)
