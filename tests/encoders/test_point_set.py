import functools

import jax
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.point_set import PointSet
from mmjax.nn.points import farthest_points

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((3, 9, 4)).astype(np.float32)
MASK = np.arange(9) < np.array([[9], [5], [2]])


def shared(p, x):
    for index in range(2):
        x = reference.dense(p[f"shared_{index}"], x)
        x = np.maximum(reference.layer_norm(p[f"shared_{index}_norm"], x, 1e-6), 0)
    return reference.dense(p["tokens"], x)


def run(module, variables, *fields):
    return jax.jit(functools.partial(module.apply, train=False))(variables, *fields)


def farthest(places, count):
    """Indices, one at a time, of the points of one row."""
    chosen = [int(np.argmax(((places - places.mean(axis=0)) ** 2).sum(axis=1)))]
    while len(chosen) < min(count, len(places)):
        apart = ((places[:, None] - places[chosen]) ** 2).sum(axis=-1).min(axis=1)
        chosen.append(int(np.argmax(apart)))
    return chosen


def test_each_point_is_a_token_and_their_maximum_the_set():
    module = PointSet(channels=(5, 6), width=8, scale=2.0)
    variables = reference.random_variables(module, POINTS, MASK, train=False)
    tokens = run(module, variables, POINTS, MASK)
    expected = shared(reference.double(variables["params"]), POINTS / np.array([2, 2, 2, 1.0]))
    np.testing.assert_allclose(np.asarray(tokens.values)[MASK], expected[MASK], atol=2e-5)
    for row in range(3):
        np.testing.assert_allclose(
            tokens.pooled[row], expected[row, MASK[row]].max(axis=0), atol=2e-5
        )
    order = RNG.permutation(9)
    other = run(module, variables, POINTS[:, order], MASK[:, order])
    np.testing.assert_array_equal(other.pooled, tokens.pooled)


def test_groups_are_the_neighbours_of_points_far_apart():
    module = PointSet(channels=(5, 6), width=8, tokens=4, neighbours=3)
    variables = reference.random_variables(module, POINTS, MASK, train=False)
    tokens = run(module, variables, POINTS, MASK)
    np.testing.assert_array_equal(tokens.mask, [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]])
    p = reference.double(variables["params"])
    for row in range(3):
        points = np.float64(POINTS[row, MASK[row]])
        places = points[:, :3]
        for token, centre in enumerate(places[farthest(places, 4)]):
            near = np.argsort(((places - centre) ** 2).sum(axis=1))[:3]
            group = np.concatenate([places[near] - centre, points[near, 3:]], axis=1)
            expected = shared(p, group).max(axis=0) + reference.dense(p["place"], centre)
            np.testing.assert_allclose(tokens.values[row, token], expected, atol=2e-5)
    order = RNG.permutation(9)
    other = run(module, variables, POINTS[:, order], MASK[:, order])
    np.testing.assert_allclose(other.pooled, tokens.pooled, atol=1e-6)


def test_the_points_chosen_are_valid_and_different():
    index, chosen = jax.jit(farthest_points, static_argnums=2)(POINTS[..., :3], MASK, 9)
    np.testing.assert_array_equal(chosen, np.arange(9) < MASK.sum(axis=1, keepdims=True))
    for row in range(3):
        kept = np.asarray(index)[row, np.asarray(chosen)[row]]
        assert set(kept) == set(np.flatnonzero(MASK[row]))


def test_points_without_a_place_are_refused():
    with pytest.raises(ConfigError, match=r"points of 2 columns have no axes=3.*axes=2"):
        reference.shapes(PointSet(), POINTS[..., :2], MASK, train=False)
