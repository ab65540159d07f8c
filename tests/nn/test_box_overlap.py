"""Overlaps of boxes, against transformers' torch function and by what must hold of any two."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mmjax.nn.boxes import area, from_corners, generalized_iou, iou, to_corners


def _random(count=12, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.uniform(0.2, 0.8, (count, 2)), rng.uniform(0.05, 0.4, (count, 2))], axis=1
    ).astype(np.float32)


def test_is_what_transformers_has():
    with np.load(Path(__file__).parents[1] / "golden" / "detection.npz") as golden:
        a = to_corners(jnp.asarray(golden["boxes"][0, 0]))
        b = to_corners(jnp.asarray(golden["truth"][2, :, :4]))
        found = generalized_iou(a[:, None], b[None])
        np.testing.assert_allclose(found, golden["giou"], atol=1e-6)


def test_corners_and_back():
    boxes = _random()
    np.testing.assert_allclose(from_corners(to_corners(jnp.asarray(boxes))), boxes, atol=1e-6)
    np.testing.assert_allclose(
        area(to_corners(jnp.asarray(boxes))), boxes[:, 2] * boxes[:, 3], rtol=1e-5
    )


def test_what_must_hold():
    a, b = (to_corners(jnp.asarray(_random(seed=seed))) for seed in (1, 2))
    found, plain = generalized_iou(a, b), iou(a, b)
    assert ((found >= -1) & (found <= plain + 1e-6)).all()
    np.testing.assert_allclose(found, generalized_iou(b, a), atol=1e-6)
    np.testing.assert_allclose(generalized_iou(a, a), 1.0, atol=1e-5)
    stretched = jnp.asarray([640.0, 480.0, 640.0, 480.0])
    np.testing.assert_allclose(generalized_iou(a * stretched, b * stretched), found, atol=1e-5)
    apart = jnp.asarray([[0.0, 0.0, 1.0, 1.0], [9.0, 0.0, 10.0, 1.0]])
    assert float(generalized_iou(apart[0], apart[1])) == pytest.approx(-0.8)
    assert float(iou(apart[0], apart[1])) == 0.0


def test_gradients_are_those_of_the_formula_and_finite_for_empty_boxes():
    a, b = (np.asarray(to_corners(jnp.asarray(_random(4, seed)))) for seed in (3, 4))

    def double(x):
        inside = np.prod(
            np.maximum(np.minimum(x[:, 2:], b[:, 2:]) - np.maximum(x[:, :2], b[:, :2]), 0), axis=1
        )
        union = np.prod(x[:, 2:] - x[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1) - inside
        around = np.prod(np.maximum(x[:, 2:], b[:, 2:]) - np.minimum(x[:, :2], b[:, :2]), axis=1)
        return (inside / union - (around - union) / around).sum()

    slope = jax.jit(jax.grad(lambda x, y: generalized_iou(x, y).sum()))
    np.testing.assert_allclose(
        slope(jnp.asarray(a), jnp.asarray(b)), reference.gradient(double, a), atol=1e-4
    )
    empty = jnp.zeros((4, 4))
    assert jnp.isfinite(slope(empty, empty)).all()
    assert float(iou(empty, empty)[0]) == 0.0
