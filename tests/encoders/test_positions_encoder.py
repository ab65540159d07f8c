import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.core.errors import ConfigError
from mmjax.encoders.positions import Positions, spread_directions

PLACES = np.array(
    [[[46.2, 6.1, 400.0], [46.9, 7.4, 540.0]], [[-33.9, 151.2, 20.0], [35.7, 139.7, 40.0]]],
    np.float32,
)
MASK = np.array([[1, 1], [1, 0]], bool)
MODULE = Positions(width=4, hidden=6, scales=3, directions=2, finest_km=100.0, units=(1000.0,))


def sphere(places):
    phi, lam = np.radians(np.float64(places[..., 0])), np.radians(np.float64(places[..., 1]))
    across = np.cos(phi)
    return np.stack([across * np.cos(lam), across * np.sin(lam), np.sin(phi)], axis=-1)


def test_agrees_with_its_formula():
    variables = reference.random_variables(MODULE, PLACES, MASK, train=False)
    tokens = jax.jit(functools.partial(MODULE.apply, train=False))(variables, PLACES, MASK)
    p = reference.double(variables["params"])
    points = sphere(PLACES)
    wavelengths = 100.0 * (12742.0 / 100.0) ** (np.arange(3) / 2)  # In km; the middle one between.
    along = points @ spread_directions(2) * 6371.0
    turns = 2 * np.pi * (along[..., None] / wavelengths).reshape(2, 2, 6)
    height = np.float64(PLACES[..., 2:]) / 1000.0
    angles = height / 10000 ** (2 * np.arange(3) / 6)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(2, 2, 6)
    x = np.concatenate([points, np.cos(turns), np.sin(turns), height, waves], axis=-1)
    x = reference.gelu_tanh(reference.layer_norm(p["norm"], reference.dense(p["up"], x), 1e-6))
    x = reference.dense(p["down"], x)
    np.testing.assert_allclose(np.asarray(tokens.values)[MASK], x[MASK], atol=1e-4)
    np.testing.assert_allclose(tokens.pooled, reference.masked_mean(x, MASK), atol=1e-4)


def test_a_whole_turn_is_no_turn_and_one_place_needs_no_trajectory():
    module = Positions(width=4, hidden=6)
    east = np.array([[10.0, 180.0], [-40.0, 12.5]], np.float32)
    west = np.array([[10.0, -180.0], [-40.0, 372.5]], np.float32)
    variables = reference.random_variables(module, east, train=False)
    run = jax.jit(functools.partial(module.apply, train=False))
    tokens = run(variables, east)
    assert tokens.values.shape == (2, 1, 4)
    np.testing.assert_array_equal(tokens.values, run(variables, west).values)


def test_directions_are_unit_vectors_apart():
    directions = spread_directions(8)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1)
    assert np.abs(directions.T @ directions - np.eye(8)).max() < 0.9


@pytest.mark.parametrize("columns", [1, 4])
def test_columns_without_a_unit_are_refused(columns):
    with pytest.raises(ConfigError, match=f"coordinates of {columns} columns, with units for 1"):
        MODULE.init(jax.random.key(0), jnp.zeros((2, columns)), train=False)
