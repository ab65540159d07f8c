"""Gradient modulation, against the paper's formulas in NumPy float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from rows_and_tokens import LABELS, NAMES, PRESENT, ROW_MASK, make_batch, make_module

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.models.balancing import modulation, parted, right_share, scaled_gradient

BATCH = make_batch()
STRENGTH = 0.4


def test_the_gradient_of_a_tree_is_scaled_and_its_values_are_not():
    tree = {"x": jnp.array([1.0, 2.0]), "mask": jnp.array([True, False])}

    def loss(x, share):
        found = scaled_gradient({**tree, "x": x}, share)
        return jnp.sum(jnp.where(found["mask"], found["x"] ** 2, 3 * found["x"]))

    value, grad = jax.value_and_grad(loss)(tree["x"], jnp.float32(0.25))
    assert float(value) == 7.0
    np.testing.assert_allclose(grad, [0.5, 0.75])


def test_modulation_of_two_is_that_of_the_paper_and_of_three_goes_by_the_mean():
    np.testing.assert_allclose(
        modulation(jnp.array([0.6, 0.3]), 0.4), [1 - np.tanh(0.4 * 2), 1], rtol=1e-6
    )
    np.testing.assert_allclose(
        modulation(jnp.array([0.6, 0.2, 0.4]), 0.4), [1 - np.tanh(0.4 * 2), 1, 1], rtol=1e-6
    )
    np.testing.assert_allclose(modulation(jnp.array([0.3, 0.3]), 0.4), [1, 1])


def test_the_share_of_the_truth():
    p = jnp.array([[0.2, 0.8], [0.6, 0.4], [0.9, 0.1]])
    truth, rows = jnp.eye(2)[jnp.array([1, 1, 0])], jnp.array([1, 1, 0], bool)
    np.testing.assert_allclose(right_share(p, truth, rows, "classes"), 0.6, rtol=1e-6)
    np.testing.assert_allclose(right_share(p, truth, rows, "labels"), 0.6, rtol=1e-6)


FUSIONS = {
    "features": Spec("weighted_sum", width=8, weights="fixed"),
    "decisions": Spec("decision", head_loss=0.5),
}


@pytest.mark.parametrize("fusion", FUSIONS.values(), ids=FUSIONS)
def test_encoders_get_the_share_of_their_gradient_and_heads_all(fusion):
    modules = [make_module(fusion=fusion, gradient_balance=g) for g in (0.0, STRENGTH)]
    shapes = jax.eval_shape(lambda: modules[0].init(jax.random.key(0), BATCH, train=False))
    variables = reference.random_like(shapes, scale=1.0)

    def gradients(module):
        def loss(params, values):
            inputs = {n: {**BATCH.inputs[n], "values": values[n]} for n in NAMES}
            batch = dataclasses.replace(BATCH, inputs=inputs)
            found = module.apply({**variables, "params": params}, batch, train=True)
            return found.loss, found.metrics

        values = {name: BATCH.inputs[name]["values"] for name in NAMES}
        grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        return jax.jit(grad)(variables["params"], values)

    one, other = map(gradients, modules)
    (plain, sums), (heads, encoders) = one
    (loss, more), (heads_too, balanced) = other
    np.testing.assert_allclose(loss, plain, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), heads, heads_too)
    scores, tell = {}, jax.jit(lambda batch: modules[0].apply(variables, batch, train=False))
    for name in NAMES:
        only = {other: PRESENT[other] & (other == name) for other in NAMES}
        batch = dataclasses.replace(BATCH, present=only)
        told = tell(batch).predictions["probabilities"]
        rows = ROW_MASK & PRESENT[name]
        scores[name] = np.float64(told)[rows, LABELS[rows]].mean()
    strong, weak = sorted(NAMES, key=scores.get, reverse=True)
    share = 1 - np.tanh(STRENGTH * scores[strong] / scores[weak])
    assert 0.1 < share < 0.7
    np.testing.assert_allclose(balanced[strong], share * encoders[strong], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(balanced[weak], encoders[weak], rtol=1e-5, atol=1e-7)
    assert np.abs(encoders[strong]).max() > 0.01
    # What the log is told: the shares, apart from the task's own sums.
    own, shares = parted(jax.tree.map(lambda one: 2 * one, more))
    assert own.keys() == sums.keys() == parted(sums)[0].keys()
    wanted = {f"gradient_balance/{strong}": share, f"gradient_balance/{weak}": 1.0}
    assert shares == pytest.approx(wanted, rel=1e-4)
    assert not parted(sums)[1]


def test_tasks_of_numbers_are_refused():
    with pytest.raises(ConfigError, match="gradient_balance is for predictions of classes"):
        make_module(task=Spec("regression"), gradient_balance=STRENGTH, task_facts={})
