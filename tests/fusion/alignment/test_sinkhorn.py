import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from tiny_tokens import ROWS

from mmjax.core.errors import ConfigError
from mmjax.core.types import Tokens
from mmjax.fusion import alignment

LENGTHS = ([3, 2, 0, 1], [4, 4, 2, 0])
"""Valid tokens of each set by row: both, both, only the second, only the first."""


def paper(cost, a, b, epsilon, iterations):
    """Cuturi 2013, algorithm 1, by scaling vectors in float64."""
    kernel = np.exp(-cost / epsilon)
    v = np.ones(len(b))
    for _ in range(iterations):
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    return u[:, None] * kernel * v


def costs(a, b, how):
    if how == "squared":
        return ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (a, b))
    return 1 - a @ b.T


def reference_of(a, b, how, epsilon, iterations):
    """The plan and cost of every row, and the sum that the gradient is of."""
    plans, total = [], []
    for row, (n, m) in enumerate(zip(*LENGTHS, strict=True)):
        plan, cost = np.zeros((a.shape[1], b.shape[1])), 0.0
        if n and m:
            pairs = costs(a[row, :n], b[row, :m], how)
            plan[:n, :m] = paper(pairs, np.full(n, 1 / n), np.full(m, 1 / m), epsilon, iterations)
            cost = (plan[:n, :m] * pairs).sum()
        plans.append(plan)
        total.append(cost)
    return np.stack(plans), np.array(total)


def sets(hidden=0.0):
    rng = np.random.default_rng(0)
    found = []
    for lengths in LENGTHS:
        mask = np.arange(4) < np.array(lengths)[:, None]
        values = rng.standard_normal((ROWS, 4, 3))
        values = np.where(mask[..., None], values, hidden)
        pooled = jnp.zeros((ROWS, 3))
        found.append(Tokens(jnp.asarray(values, jnp.float32), jnp.asarray(mask), pooled))
    return found


@functools.partial(jax.jit, static_argnames=("how", "epsilon", "iterations"))
def run(a, b, how, epsilon, iterations):
    def loss(values):
        given = [one.replace(values=value) for one, value in zip((a, b), values, strict=True)]
        found = alignment.align_tokens(*given, cost=how, epsilon=epsilon, iterations=iterations)
        return found.cost.sum(), found

    grads, found = jax.grad(loss, has_aux=True)((a.values, b.values))
    return found, grads


@pytest.mark.parametrize(("how", "epsilon"), [("cosine", 0.2), ("squared", 1.0)])
def test_plans_costs_and_gradients(how, epsilon):
    options = (how, epsilon, 7)
    a, b = sets()
    found, grads = run(a, b, *options)
    arrays = [np.float64(one.values) for one in (a, b)]
    plan, cost = reference_of(*arrays, *options)
    np.testing.assert_allclose(found.plan, plan, atol=1e-6)
    np.testing.assert_allclose(found.cost, cost, atol=2e-6)
    for index, grad in enumerate(grads):
        direction = np.random.default_rng(index).standard_normal(grad.shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = [*arrays]
            moved[index] = moved[index] + step * direction
            ends.append(reference_of(*moved, *options)[1].sum())
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose((np.float64(grad) * direction).sum(), slope, atol=5e-5)


def test_padding_and_absent_modalities_change_nothing():
    options = ("cosine", 0.2, 7)
    ours, other = run(*sets(), *options), run(*sets(hidden=1e3), *options)
    for one, same in zip(jax.tree.leaves(ours), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(one, same)
    for one, grad in zip(sets(), ours[1], strict=True):
        assert not np.asarray(grad)[~np.asarray(one.mask)].any()
        assert np.isfinite(np.asarray(grad)).all()
        assert not np.asarray(grad)[2:].any()


def test_marginals():
    rng = np.random.default_rng(0)
    cost = jnp.asarray(rng.random((2, 5, 4)), jnp.float32)
    a, b = rng.dirichlet(np.ones(5), 2), rng.dirichlet(np.ones(4), 2)
    a[0, 1] = b[0, 2] = 0
    a, b = (one / one.sum(axis=1, keepdims=True) for one in (a, b))
    given = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    plan = jax.jit(lambda: alignment.sinkhorn(cost, *given, epsilon=0.1, iterations=200))()
    np.testing.assert_allclose(plan.sum(axis=2), a, atol=1e-5)
    np.testing.assert_allclose(plan.sum(axis=1), b, atol=1e-6)


def test_a_small_epsilon_gives_the_best_assignment():
    """Costs over epsilon of up to 500, which exp does not hold in float32."""
    cost = np.random.default_rng(3).random((6, 8, 8))
    equal = jnp.full((6, 8), 1 / 8)
    plan = jax.jit(
        lambda cost: alignment.sinkhorn(cost, equal, equal, epsilon=0.002, iterations=1000)
    )(jnp.asarray(cost, jnp.float32))
    for row in range(6):
        best = np.zeros((8, 8))
        best[linear_sum_assignment(cost[row])] = 1 / 8
        np.testing.assert_allclose(plan[row], best, atol=0.02)


def test_tokens_of_two_widths_are_refused():
    a, b = sets()
    with pytest.raises(ConfigError, match="widths 3 and 2"):
        alignment.align_tokens(a, b.replace(values=b.values[..., :2], pooled=b.pooled[:, :2]))


def test_no_iterations_are_refused():
    with pytest.raises(ConfigError, match="iterations=0"):
        alignment.sinkhorn(jnp.ones((2, 2)), jnp.ones(2), jnp.ones(2), iterations=0)
