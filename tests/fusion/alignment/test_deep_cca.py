import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.fusion import alignment

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 4)) @ RNG.standard_normal((4, 4))
Y = X @ RNG.standard_normal((4, 3)) + RNG.standard_normal((30, 3))
RIDGE = 0.05


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors / np.sqrt(values)) @ vectors.T


def parts(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx = x.T @ x / (len(x) - 1) + RIDGE * np.eye(x.shape[1])
    yy = y.T @ y / (len(y) - 1) + RIDGE * np.eye(y.shape[1])
    u, values, v = np.linalg.svd(
        root(xx) @ (x.T @ y / (len(x) - 1)) @ root(yy), full_matrices=False
    )
    return x, y, root(xx), root(yy), u, values, v


def paper(x, y, dimensions=None):
    """Minus the trace norm, with square roots by eigenvectors."""
    return -parts(x, y)[5][:dimensions].sum()


def papers_gradient(x, y):
    """Andrew et al. 2013, section 3, of all correlations by the first view."""
    x, y, of_x, of_y, u, values, v = parts(x, y)
    cross = of_x @ u @ v @ of_y
    within = -0.5 * of_x @ (u * values) @ u.T @ of_x
    return -(2 * x @ within + y @ cross.T) / (len(x) - 1)


@functools.partial(jax.jit, static_argnames="dimensions")
def run(x, y, mask, dimensions):
    def loss(x, y):
        return alignment.deep_cca_loss(x, y, ridge=RIDGE, mask=mask, dimensions=dimensions)

    return jax.value_and_grad(loss, argnums=(0, 1))(x, y)


def ours(x, y, *, mask=None, dimensions=None):
    return run(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), mask, dimensions)


@pytest.mark.parametrize("dimensions", [None, 2])
def test_value_and_gradient(dimensions):
    loss, grads = ours(X, Y, dimensions=dimensions)
    np.testing.assert_allclose(loss, paper(X, Y, dimensions), rtol=1e-5)
    for index, grad in enumerate(grads):
        for seed in range(3):
            direction = np.random.default_rng(seed).standard_normal((X, Y)[index].shape)
            ends = []
            for step in (1e-5, -1e-5):
                moved = [X, Y]
                moved[index] = moved[index] + step * direction
                ends.append(paper(*moved, dimensions))
            slope = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose((np.float64(grad) * direction).sum(), slope, atol=2e-5)
    if dimensions is None:
        np.testing.assert_allclose(grads[0], papers_gradient(X, Y), atol=2e-5)


def test_equal_to_the_correlations_of_cca():
    loss, _ = ours(X, Y)
    np.testing.assert_allclose(
        loss, -alignment.cca(X, Y, ridge=RIDGE).correlations.sum(), rtol=1e-5
    )


def test_equal_singular_values_have_a_finite_gradient():
    """The same view twice, white: all correlations are equal."""
    white = np.linalg.qr(X - X.mean(axis=0))[0] * np.sqrt(len(X) - 1)
    loss, grads = ours(white, white)
    np.testing.assert_allclose(loss, -4 / (1 + RIDGE), rtol=1e-5)
    np.testing.assert_allclose(grads[0], papers_gradient(white, white), atol=2e-5)


def test_rows_that_do_not_count():
    mask = np.arange(34) < 30
    padded = [np.concatenate([one, np.full((4, one.shape[1]), 1e3)]) for one in (X, Y)]
    loss, grads = ours(*padded, mask=jnp.asarray(mask))
    expected, of_expected = ours(X, Y)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for grad, other in zip(grads, of_expected, strict=True):
        np.testing.assert_allclose(grad[:30], other, atol=1e-6)
        assert not np.asarray(grad[30:]).any()
    nothing, grads = ours(*padded, mask=jnp.zeros(34, bool))
    assert nothing == 0
    assert not any(np.asarray(grad).any() for grad in grads)


def test_more_dimensions_than_channels_are_refused():
    with pytest.raises(ConfigError, match=r"dimensions=4 .*4 and 3 channels.*dimensions=3"):
        alignment.deep_cca_loss(jnp.ones((5, 4)), jnp.ones((5, 3)), dimensions=4)
