import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from mmjax.core.errors import DataError
from mmjax.fusion import alignment

RNG = np.random.default_rng(0)
SOURCE = RNG.standard_normal((12, 4)) @ RNG.standard_normal((4, 4)) + 2.0
TARGET = RNG.standard_normal((9, 4)) @ RNG.standard_normal((4, 4))

unchecked = inspect.unwrap(alignment.coral_alignment)
"""Without the tests' own check of shapes."""


def paper(source, target):
    difference = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    return np.linalg.norm(difference, "fro") ** 2 / (4 * source.shape[1] ** 2)


def test_loss_and_gradient():
    """With rows that do not count, which get no gradient."""
    source = np.concatenate([SOURCE, np.full((3, 4), 1e3)])
    masks = {"source_mask": jnp.arange(15) < 12, "target_mask": jnp.ones(9, bool)}

    @jax.jit
    def run(source, target):
        return jax.value_and_grad(
            lambda *given: alignment.coral_loss(*given, **masks), argnums=(0, 1)
        )(source, target)

    loss, grads = run(jnp.asarray(source, jnp.float32), jnp.asarray(TARGET, jnp.float32))
    np.testing.assert_allclose(loss, paper(SOURCE, TARGET), rtol=1e-5)
    assert not np.asarray(grads[0][12:]).any()
    for index, grad in enumerate((grads[0][:12], grads[1])):
        direction = np.random.default_rng(index).standard_normal(grad.shape)
        ends = []
        for step in (1e-5, -1e-5):
            moved = [SOURCE, TARGET]
            moved[index] = moved[index] + step * direction
            ends.append(paper(*moved))
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose((np.float64(grad) * direction).sum(), slope, rtol=1e-4)


def test_alignment_gives_the_covariance_of_the_target():
    aligned = SOURCE @ alignment.coral_alignment(SOURCE, TARGET, ridge=0.0)
    np.testing.assert_allclose(
        np.cov(aligned, rowvar=False), np.cov(TARGET, rowvar=False), atol=1e-10
    )


def test_alignment_is_the_papers():
    source, target = (np.cov(one, rowvar=False) + np.eye(4) for one in (SOURCE, TARGET))
    expected = np.linalg.inv(scipy.linalg.sqrtm(source)) @ scipy.linalg.sqrtm(target)
    np.testing.assert_allclose(alignment.coral_alignment(SOURCE, TARGET), expected, atol=1e-10)


def test_directions_without_variance_stay_so():
    flat = SOURCE.copy()
    flat[:, 0] = 1.0
    matrix = alignment.coral_alignment(flat, TARGET, ridge=0.0)
    assert np.isfinite(matrix).all()
    np.testing.assert_allclose(matrix[0], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("target", "message"),
    [(TARGET[:, :3], r"target has shape \[9, 3\]"), (TARGET * np.nan, "target is not finite")],
)
def test_rows_that_do_not_fit_are_refused(target, message):
    with pytest.raises(DataError, match=message):
        unchecked(SOURCE, target)
