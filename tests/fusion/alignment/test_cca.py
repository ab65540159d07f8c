import inspect

import numpy as np
import pytest
import scipy.linalg
from sklearn.cross_decomposition import CCA

from mmjax.core.errors import ConfigError, DataError
from mmjax.fusion import alignment

RNG = np.random.default_rng(0)
SHARED = RNG.standard_normal((60, 3))
X = SHARED @ RNG.standard_normal((3, 5)) + RNG.standard_normal((60, 5)) + 3.0
Y = SHARED @ RNG.standard_normal((3, 4)) + RNG.standard_normal((60, 4)) - 1.0

unchecked = inspect.unwrap(alignment.cca)
"""Without the tests' own check of shapes."""


@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_correlations_are_those_of_the_generalised_eigenproblem(ridge):
    whole = np.cov(np.concatenate([X, Y], axis=1), rowvar=False)
    xx, yy, xy = whole[:5, :5] + ridge * np.eye(5), whole[5:, 5:] + ridge * np.eye(4), whole[:5, 5:]
    squares = scipy.linalg.eigh(xy @ np.linalg.solve(yy, xy.T), xx, eigvals_only=True)[::-1][:4]
    found = alignment.cca(X, Y, ridge=ridge)
    np.testing.assert_allclose(found.correlations, np.sqrt(squares), rtol=1e-9)
    for weights, covariance in zip(found.weights, (xx, yy), strict=True):
        np.testing.assert_allclose(weights.T @ covariance @ weights, np.eye(4), atol=1e-9)


def test_transformed_rows_agree_with_sklearn():
    found = alignment.cca(X, Y, 2)
    ours = found.transform(X, "x"), found.transform(Y, "y")
    theirs = CCA(n_components=2, scale=False, max_iter=5000, tol=1e-12).fit(X, Y).transform(X, Y)
    for index in range(2):
        for one, other in zip(ours, theirs, strict=True):
            assert abs(np.corrcoef(one[:, index], other[:, index])[0, 1]) > 1 - 1e-6
        correlation = np.corrcoef(ours[0][:, index], ours[1][:, index])[0, 1]
        np.testing.assert_allclose(correlation, found.correlations[index], rtol=1e-9)
    np.testing.assert_allclose(ours[0].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(ours[0], rowvar=False), np.eye(2), atol=1e-9)
    assert (found.weights[0][np.abs(found.weights[0]).argmax(axis=0), [0, 1]] > 0).all()


def test_ill_conditioned_and_deficient_views():
    """Correlations do not depend on the basis of a view, however bad it is."""
    scales = 10.0 ** np.arange(0, -10, -2)
    turned = X * scales
    doubled = np.concatenate([Y, Y[:, :1] + Y[:, 1:2]], axis=1)
    found = alignment.cca(turned, doubled)
    assert found.correlations.shape == (4,)
    np.testing.assert_allclose(found.correlations, alignment.cca(X, Y).correlations, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((X, Y[1:]), DataError, r"'y' has shape \[59, 4\]"),
        ((X, np.where(Y > 0, Y, np.nan)), DataError, "'y' is not finite"),
        ((X, Y, 5), ConfigError, "dimensions=5 .*5 and 4.*dimensions=4"),
        ((X, np.ones_like(Y)), ConfigError, "not constant"),
    ],
)
def test_what_has_no_solution_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        unchecked(*given)


def test_rows_of_another_width_are_refused():
    with pytest.raises(DataError, match=r"view 'x' have shape \[60, 4\].*\[b 5\]"):
        inspect.unwrap(alignment.CCA.transform)(alignment.cca(X, Y), Y, "x")
