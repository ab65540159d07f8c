"""Kernel ridge between feature spaces, against scikit-learn and fits that really leave rows out."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity, rbf_kernel
from sklearn.preprocessing import KernelCenterer

from mmjax.core.errors import ConfigError, DataError
from mmjax.fusion.alignment import gram, kernel_ridge


def case(rows=40, width=7, out=3, seed=0):
    rng = np.random.default_rng(seed)
    x, new = rng.normal(size=(rows, width)) + 0.5, rng.normal(size=(11, width))
    y = np.tanh(x @ rng.normal(size=(width, out))) + 0.1 * rng.normal(size=(rows, out)) + 2.0
    return x, y, new


def test_a_linear_map_is_ridge_regression_with_an_intercept():
    x, y, new = case()
    found = kernel_ridge(x, y, kernel="linear", ridge=0.7)
    want = Ridge(alpha=0.7).fit(x, y)
    np.testing.assert_allclose(found.transform(new), want.predict(new), rtol=1e-9)
    np.testing.assert_allclose(found.transform(x), want.predict(x), rtol=1e-9)


@pytest.mark.parametrize("kernel", ["cosine", "rbf", "precomputed"])
def test_agrees_with_scikit_learn_on_a_centred_kernel(kernel):
    x, y, new = case()
    if kernel == "cosine":
        values, asked = cosine_similarity(x), cosine_similarity(new, x)
    else:
        values, asked = rbf_kernel(x, gamma=1 / 8), rbf_kernel(new, x, gamma=1 / 8)
    centre = KernelCenterer().fit(values)
    want = KernelRidge(alpha=0.3, kernel="precomputed").fit(
        centre.transform(values), y - y.mean(axis=0)
    )
    want = want.predict(centre.transform(asked)) + y.mean(axis=0)
    given = (values, asked) if kernel == "precomputed" else (x, new)
    found = kernel_ridge(given[0], y, kernel=kernel, bandwidth=2.0, ridge=0.3)
    np.testing.assert_allclose(found.transform(given[1]), want, rtol=1e-8)
    np.testing.assert_allclose(
        gram(new, x, kernel="cosine" if kernel == "cosine" else "rbf", bandwidth=2.0), asked
    )


@pytest.mark.parametrize("grouped", [False, True])
def test_held_out_predictions_are_those_of_fits_without_the_rows(grouped):
    x, y, _ = case()
    groups = np.array([f"g{i % 13}" for i in range(len(x))]) if grouped else np.arange(len(x))
    groups[:9] = [f"alone{i}" for i in range(9)] if grouped else groups[:9]
    found = kernel_ridge(
        x, y, kernel="rbf", bandwidth=3.0, ridge=0.2, groups=groups if grouped else None
    )
    for group in np.unique(groups):
        out = groups == group
        apart = kernel_ridge(x[~out], y[~out], kernel="rbf", bandwidth=3.0, ridge=0.2)
        np.testing.assert_allclose(found.held_out[out], apart.transform(x[out]), rtol=1e-8)


def test_the_ridge_is_chosen_by_what_was_held_out():
    x, y, _ = case(seed=2)
    tried = [1e-3, 0.1, 10.0, 1e3]
    found = kernel_ridge(x, y, kernel="linear", ridge=tried)
    errors = []
    for ridge in tried:
        out = [
            Ridge(alpha=ridge).fit(np.delete(x, i, 0), np.delete(y, i, 0)).predict(x[i : i + 1])[0]
            for i in range(len(x))
        ]
        errors.append(np.mean((np.array(out) - y) ** 2))
    assert list(found.scores) == tried
    np.testing.assert_allclose([-score for score in found.scores.values()], errors, rtol=1e-8)
    assert found.ridge == tried[int(np.argmin(errors))] not in (1e-3, 1e3)
    worst = kernel_ridge(
        x, y, kernel="linear", ridge=tried, score=lambda a, b: ((a - b) ** 2).sum()
    )
    assert worst.ridge == tried[int(np.argmax(errors))]
    assert len(kernel_ridge(x, y).scores) > 10


def test_rows_of_zeros_and_equal_rows_do_no_harm():
    x, y, new = case()
    x[:3] = 0
    x[5:9] = x[4]
    for kernel in ("linear", "cosine", "rbf"):
        assert np.isfinite(kernel_ridge(x, y, kernel=kernel).transform(new)).all()
    same = kernel_ridge(np.ones((6, 2)), y[:6], kernel="rbf")
    np.testing.assert_allclose(same.transform(new[:, :2]), np.tile(y[:6].mean(0), (11, 1)))


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"ridge": 0.0}, ConfigError, "MMX-106: ridge = 0.0"),
        ({"ridge": []}, ConfigError, "MMX-106: ridge = []"),
        ({"y": np.ones((3, 2))}, DataError, "MMX-540: x has shape [4, 2], y [3, 2]"),
        ({"y": np.ones(4)}, DataError, "MMX-540: y has shape [4]"),
        ({"x": np.full((4, 2), np.nan)}, DataError, "MMX-542: x is not finite"),
        ({"kernel": "precomputed"}, DataError, "MMX-540: x has shape [4, 2]"),
        ({"groups": [1, 2]}, DataError, "MMX-540: groups have shape [2]"),
        ({"groups": [1, 1, 1, 1]}, DataError, "MMX-541: all rows are of one group"),
    ],
)
def test_bad_input_is_refused(arguments, error, told):
    with pytest.raises(error) as caught:
        kernel_ridge(**{"x": np.eye(4, 2), "y": np.eye(4, 2), **arguments})
    assert told in str(caught.value)


def test_rows_of_another_width_are_refused():
    with pytest.raises(DataError, match=r"MMX-540.*expected \[b 2\]"):
        kernel_ridge(np.eye(4, 2), np.eye(4, 2)).transform(np.ones((3, 5)))
