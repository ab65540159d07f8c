from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.nn.positions import (
    fourier_features,
    positions_of_shapes,
    resize_positions,
    sincos_grid,
    sinusoid_table,
    sinusoids,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "resize_positions.npz")
CASES = sorted({name.rpartition("_")[0] for name in GOLDEN})


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_sinusoids_are_those_of_vaswani(layout):
    positions = np.array([[0.0, 1.0, 7.0], [2.5, -3.0, 40.0]])
    found = np.asarray(sinusoids(positions, 6, layout=layout))
    for i in range(3):
        angle = positions / 10000 ** (2 * i / 6)
        sine, cosine = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, 3 + i)
        np.testing.assert_allclose(found[..., sine], np.sin(angle), atol=5e-6)
        np.testing.assert_allclose(found[..., cosine], np.cos(angle), atol=5e-6)


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
def test_tables_of_sinusoids_keep_their_digits_at_high_positions(layout):
    found = sinusoid_table(2000, 6, layout=layout)
    for i in range(3):
        angle = np.arange(2000) / 10000 ** (2 * i / 6)
        sine, cosine = (2 * i, 2 * i + 1) if layout == "interleaved" else (i, 3 + i)
        np.testing.assert_allclose(found[:, sine], np.sin(angle), atol=1e-7)
        np.testing.assert_allclose(found[:, cosine], np.cos(angle), atol=1e-7)


def test_grids_of_two_axes_are_those_of_mae():
    """MAE's table, cell by cell: a column's sines and cosines, then a row's."""
    found = np.asarray(sincos_grid((2, 3), 8, extra_tokens=1))
    assert found.shape == (1, 7, 8)
    assert not found[0, 0].any()
    for row, column in np.ndindex(2, 3):
        expected = [
            function(position * omega)
            for position in (column, row)
            for function in (np.sin, np.cos)
            for omega in (1.0, 1 / 100)
        ]
        np.testing.assert_allclose(found[0, 1 + 3 * row + column], expected, atol=1e-6)


def test_fourier_features():
    rng = np.random.default_rng(0)
    points, frequencies = rng.uniform(size=(2, 5, 3)), rng.standard_normal((3, 4))
    found = np.asarray(fourier_features(points, frequencies))
    assert found.shape == (2, 5, 8)
    turns = np.exp(2j * np.pi * points @ frequencies)
    np.testing.assert_allclose(found, np.concatenate([turns.real, turns.imag], -1), atol=1e-5)


@pytest.mark.parametrize(
    ("case", "extra_tokens"), [(case, 2 * (i % 2)) for i, case in enumerate(CASES)]
)
def test_resized_grids_are_those_of_torch(case, extra_tokens):
    method, old, new = case.split("_")
    extra = np.full((1, extra_tokens, 3), 5.0, np.float32)
    table = np.concatenate([extra, GOLDEN[f"{case}_table"]], axis=1)
    found = resize_positions(
        jnp.asarray(table),
        tuple(map(int, old.split("x"))),
        tuple(map(int, new.split("x"))),
        method=method,
        extra_tokens=extra_tokens,
    )
    expected = np.concatenate([extra, GOLDEN[f"{case}_resized"]], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_an_equal_size_changes_nothing_and_the_type_stays():
    table = jnp.asarray(GOLDEN["bicubic_4x4_7x5_table"], jnp.bfloat16)
    assert resize_positions(table, (4, 4), (4, 4)) is table
    assert resize_positions(table, (4, 4), (5, 5)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resize_positions(jnp.zeros((1, 17, 2)), (4, 4), (2, 2)), "expected 16 positions"),
        (
            lambda: resize_positions(jnp.zeros((1, 16, 2)), (4, 4), (2, 2, 2)),
            "as many axes as each other",
        ),
        (lambda: sinusoids(np.zeros(2), 5), "width=6"),
        (lambda: sincos_grid((2, 2), 6), "the nearest valid: 8"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def smooth(before: int, after: int) -> np.ndarray:
    """Triangles around each new cell's centre, as wide as what it covers (PIL, torch antialias)."""
    width = max(before / after, 1.0)
    weights = np.zeros((after, before))
    for new, old in np.ndindex(after, before):
        weights[new, old] = max(0.0, 1 - abs(old + 0.5 - (new + 0.5) * before / after) / width)
    return weights / weights.sum(axis=1, keepdims=True)


def test_positions_of_shapes_are_each_pictures_own():
    table = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)
    shapes = np.array([[2, 5], [4, 3], [7, 1]])
    found = np.asarray(positions_of_shapes(jnp.asarray(table), shapes, 12))
    for row, (rows, columns) in enumerate(shapes):
        expected = np.einsum("ar,bc,rcd->abd", smooth(4, rows), smooth(3, columns), table)
        expected = expected.reshape(-1, 2)
        count = rows * columns
        np.testing.assert_allclose(found[row, :count], expected, atol=1e-6)
        np.testing.assert_allclose(
            found[row, count:], expected[:1].repeat(12 - count, 0), atol=1e-6
        )
    np.testing.assert_allclose(found[1], table.reshape(12, 2), atol=1e-6)
