import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import optimize
from tiny_tokens import make_tokens

from mmjax import fusion
from mmjax.core.errors import ConfigError, DataError

NAMES = ("text", "image", "audio")
RNG = np.random.default_rng(0)
PARTS = dict(zip(NAMES, RNG.standard_normal((3, 20, 4)), strict=True))
PRESENT = {name: RNG.random(20) < 0.7 for name in NAMES}
TARGETS = RNG.standard_normal((20, 4)) + 2.0 * PARTS["text"] - 0.7 * PARTS["image"]


def columns(parts=PARTS, present=None):
    """[n modality]: what least squares takes."""
    kept = [one if present is None else one * present[name][:, None] for name, one in parts.items()]
    return np.stack([one.ravel() for one in kept], axis=1)


def loss(weights, present=None):
    return ((TARGETS.ravel() - columns(present=present) @ np.asarray(weights)) ** 2).sum()


@pytest.mark.parametrize("present", [None, PRESENT], ids=["all", "some"])
def test_unconstrained(present):
    found = fusion.solve_weights(PARTS, TARGETS, present=present)
    assert list(found) == list(NAMES)
    expected = np.linalg.lstsq(columns(present=present), TARGETS.ravel())[0]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-10)


@pytest.mark.parametrize("constraint", ["sum_to_one", "simplex"])
@pytest.mark.parametrize("present", [None, PRESENT], ids=["all", "some"])
def test_constrained(constraint, present):
    found = fusion.solve_weights(PARTS, TARGETS, present=present, constraint=constraint)
    weights = np.array(list(found.values()))
    expected = optimize.minimize(
        loss,
        np.full(3, 1 / 3),
        (present,),
        method="SLSQP",
        bounds=[(0, None)] * 3 if constraint == "simplex" else None,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(weights, expected.x, atol=1e-5)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    assert constraint == "sum_to_one" or (weights >= 0).all()


def test_simplex_meets_the_conditions_of_an_optimum():
    """Karush, Kuhn and Tucker: the slopes are equal and lowest where there is weight."""
    rng = np.random.default_rng(1)
    used = []
    for case in range(12):
        parts, targets = rng.standard_normal((5, 15)), rng.standard_normal(15)
        if case % 4 == 0:
            parts[1] = parts[0]
        weights = fusion.solve_weights(parts, targets, constraint="simplex")
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(), 1.0)
        slopes = parts @ (parts.T @ weights - targets)
        np.testing.assert_allclose(slopes[weights > 0], slopes.min(), atol=1e-8)
        used.append((weights > 0).sum())
    assert len(set(used)) > 1


def test_ridge():
    found = fusion.solve_weights(PARTS, TARGETS, ridge=3.0)
    x = np.concatenate([columns(), np.sqrt(3.0) * np.eye(3)])
    expected = np.linalg.lstsq(x, np.append(TARGETS.ravel(), np.zeros(3)))[0]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-10)
    held = fusion.solve_weights(PARTS, TARGETS, ridge=1e12, constraint="sum_to_one")
    np.testing.assert_allclose(list(held.values()), 1 / 3, atol=1e-6)


def test_of_equally_good_weights_the_smallest():
    """A modality that is nowhere present, and two that say the same."""
    parts = {**PARTS, "audio": PARTS["image"], "video": np.full((20, 4), np.nan)}
    present = {**dict.fromkeys(NAMES, np.ones(20, bool)), "video": np.zeros(20, bool)}
    found = fusion.solve_weights(parts, TARGETS, present=present)
    x = np.stack([parts[name].ravel() for name in NAMES] + [np.zeros(80)], axis=1)
    np.testing.assert_allclose(
        list(found.values()), np.linalg.lstsq(x, TARGETS.ravel())[0], atol=1e-9
    )
    assert found["video"] == 0


@pytest.mark.parametrize("constraint", ["none", "sum_to_one"])
def test_under_jit(constraint):
    x = jnp.asarray(columns(), jnp.float32)
    solve = jax.jit(lambda x, y: fusion.solve_gram(x.T @ x, x.T @ y, constraint=constraint))
    expected = fusion.solve_weights(PARTS, TARGETS, constraint=constraint)
    found = solve(x, jnp.asarray(TARGETS.ravel(), jnp.float32))
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-5)


def test_solved_weights_are_values_of_weighted_sum():
    """From the parts that a fusion sums, through its settings, to the least squared error."""
    tokens = {
        name: one.replace(mask=jnp.ones_like(one.mask)) for name, one in make_tokens().items()
    }
    draft = fusion.build("weighted_sum", width=8, weights="fixed")
    params = reference.random_variables(draft, tokens, train=False)
    p = reference.double(params["params"])
    parts = {
        name: reference.dense(p[f"{name}_pooled"], np.float64(one.pooled))
        for name, one in tokens.items()
    }
    targets = np.random.default_rng(0).standard_normal((4, 8))
    values = fusion.solve_weights(parts, targets)
    solved = fusion.build("weighted_sum", width=8, weights="fixed", values=values)
    fused = jax.jit(lambda: solved.apply(params, tokens, train=False))()
    np.testing.assert_allclose(fused.modality_weights[0], list(values.values()), rtol=1e-6)
    x = np.stack([one.ravel() for one in parts.values()], axis=1)
    (least,) = np.linalg.lstsq(x, targets.ravel())[1]
    np.testing.assert_allclose(((fused.pooled - targets) ** 2).sum(), least, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"parts": {"text": np.ones((20, 3))}},
            DataError,
            r"'text' has shape \[20, 3\].*\[20, 4\]",
        ),
        ({"present": {"text": np.ones(20)}}, DataError, r"present of text"),
        ({"present": dict.fromkeys(NAMES, np.ones(3))}, DataError, r"\[3\].*expected \[20\]"),
        ({"targets": np.full((20, 4), np.nan)}, DataError, "targets are not finite"),
        ({"parts": {"text": np.full((20, 4), np.inf)}}, DataError, "'text' is not finite"),
        ({"parts": {}}, DataError, "no modality"),
        ({"ridge": -1.0}, ConfigError, "ridge=-1.0"),
        (
            {"parts": np.ones((13, 20, 4)), "constraint": "simplex"},
            ConfigError,
            "13 modalities.*at most 12",
        ),
    ],
)
def test_what_cannot_be_solved_is_refused(change, error, message):
    given = {"parts": PARTS, "targets": TARGETS, **change}
    with pytest.raises(error, match=message):
        fusion.solve_weights(given.pop("parts"), given.pop("targets"), **given)


def test_a_simplex_is_not_for_jit():
    with pytest.raises((ConfigError, TypeError), match="constraint"):
        fusion.solve_gram(jnp.eye(2), jnp.ones(2), constraint="simplex")
