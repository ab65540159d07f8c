import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import sklearn.metrics

from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch, Fused
from mmjax.parallel.sharding import unbox

RNG = np.random.default_rng(0)
ROWS = 20
VALUES = RNG.standard_normal((ROWS, 2)).astype(np.float32)
TARGETS = (VALUES + RNG.standard_normal((ROWS, 2)) * 1.5).astype(np.float32)
TARGETS[:3, 0] = np.nan
KNOWN = ~np.isnan(TARGETS)
MEANS, DEVIATIONS = (1.7e9, -3.0), (20.0, 0.5)
LEVELS = (0.2, 0.5, 0.9)
QUANTILES = RNG.standard_normal((ROWS, 2, 3)).astype(np.float32)


def _build(**options):
    facts = {
        "num_targets": 2,
        "target_names": ("price", "size"),
        "target_means": MEANS,
        "target_deviations": DEVIATIONS,
    }
    return tasks.registry.build("regression", facts=facts, **options)


def _batch():
    mask = jnp.ones(ROWS, bool)
    return Batch({}, {}, {"label": jnp.asarray(TARGETS)}, mask, jnp.arange(ROWS))


def _error(values):
    return (np.float64(values) - TARGETS)[KNOWN]


def _huber(values, delta=0.7):
    error = np.abs(_error(values))
    return np.where(error <= delta, error**2 / 2, delta * (error - delta / 2)).mean()


def _pinball(flat):
    error = TARGETS[..., None] - np.float64(flat).reshape(ROWS, 2, 3)
    levels = np.array(LEVELS)
    return np.maximum(levels * error, (levels - 1) * error)[KNOWN].mean()


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ({}, VALUES, lambda v: (_error(v) ** 2).mean()),
        ({"loss": "mae"}, VALUES, lambda v: np.abs(_error(v)).mean()),
        ({"loss": "huber", "delta": 0.7}, VALUES, _huber),
        ({"loss": "quantile", "quantiles": LEVELS}, QUANTILES.reshape(ROWS, 6), _pinball),
    ],
    ids=["mse", "mae", "huber", "quantile"],
)
def test_losses_and_gradients(options, given, expected):
    task = _build(**options)
    loss, grads = jax.jit(jax.value_and_grad(lambda v: task.output(v, _batch()).loss))(given)
    assert float(loss) == pytest.approx(expected(given), rel=1e-6)
    np.testing.assert_allclose(grads, reference.gradient(expected, given), atol=1e-6)
    assert not np.asarray(grads).reshape(ROWS, 2, -1)[~KNOWN].any()


def test_metrics_are_in_the_units_of_the_data():
    task = _build()
    output = jax.jit(lambda v: task.output(v, _batch()))(VALUES)
    rows = {name: np.asarray(value) for name, value in output.predictions.items()}
    found = task.evaluate(rows, {"label": TARGETS})
    scale = np.array(DEVIATIONS)
    for i, name in enumerate(("price", "size")):
        own = KNOWN[:, i]
        truth = np.float64(TARGETS[own, i]) * scale[i]
        mae = sklearn.metrics.mean_absolute_error(truth, VALUES[own, i] * scale[i])
        assert found[f"mae/{name}"] == pytest.approx(mae, rel=1e-6)
        r2 = sklearn.metrics.r2_score(TARGETS[own, i], VALUES[own, i])
        assert found[f"r2/{name}"] == pytest.approx(r2, rel=1e-6)
    sums = task.compute(jax.device_get(output.metrics))
    assert sums == pytest.approx({name: found[name] for name in sums}, rel=1e-4)
    assert set(found) - set(sums) == {"spearman", "spearman/price", "spearman/size"}


@pytest.mark.parametrize("crossing", ["none", "sorted"])
def test_quantiles_do_not_cross(crossing):
    task = _build(loss="quantile", quantiles=LEVELS, crossing=crossing)
    pooled = jnp.asarray(RNG.standard_normal((ROWS, 5)), jnp.float32)
    fused = Fused(pooled[:, None], jnp.ones((ROWS, 1), bool), pooled, {"text": (0, 1)})
    variables = reference.random_variables(task, fused, _batch(), train=False)
    output = jax.jit(lambda: task.apply(variables, fused, _batch(), train=False))()
    each = np.asarray(output.predictions["quantiles"])
    assert each.shape == (ROWS, 2, 3)
    assert (np.diff(each, axis=-1) >= 0).all()
    np.testing.assert_array_equal(output.predictions["values"], each[..., 1])
    outputs = reference.dense(reference.double(variables["params"]["head"]), np.float64(pooled))
    raw = outputs.reshape(ROWS, 2, 3)
    if crossing == "sorted":
        wanted = np.sort(raw, axis=-1)
    else:
        steps = np.log1p(np.exp(raw))
        wanted = raw[..., :1] + np.cumsum(steps * [0, 1, 1], axis=-1)
    np.testing.assert_allclose(each, wanted, atol=1e-5)
    rows = {name: np.asarray(value) for name, value in output.predictions.items()}
    found = task.evaluate(rows, {"label": TARGETS})
    sums = task.compute(jax.device_get(output.metrics))
    for name in ("pinball", "coverage/price", "interval/size"):
        assert sums[name] == pytest.approx(found[name], rel=1e-5)


def test_they_cross_where_that_is_allowed():
    flat = jnp.asarray(QUANTILES.reshape(ROWS, 6))
    task = _build(loss="quantile", quantiles=LEVELS, crossing="allowed")
    np.testing.assert_array_equal(task.output(flat, _batch()).predictions["quantiles"], QUANTILES)


def test_decode_gives_the_units_of_the_data():
    task = _build(loss="quantile", quantiles=LEVELS)
    rows = {"values": VALUES, "quantiles": QUANTILES}
    first = task.decode(rows)[0]
    assert first["values"] == {
        "price": pytest.approx(1.7e9 + 20 * float(VALUES[0, 0]), abs=1e-5),
        "size": pytest.approx(-3 + 0.5 * float(VALUES[0, 1])),
    }
    assert first["quantiles"]["size"] == {
        str(q): pytest.approx(-3 + 0.5 * float(QUANTILES[0, 1, i])) for i, q in enumerate(LEVELS)
    }
    alone = tasks.registry.build("regression", facts={"num_targets": 1})
    assert alone.decode({"values": np.array([[2.5]])}) == [{"value": 2.5}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss": "quantile", "quantiles": (0.5, 0.1)}, "quantiles = .*ascending"),
        ({"loss": "quantile", "quantiles": (0.0, 0.5)}, "quantiles"),
        ({"loss": "huber", "delta": 0.0}, "delta = 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        _build(**options).output(jnp.zeros((ROWS, 4 if "quantiles" in options else 2)), _batch())


def test_the_compiled_gradient_of_a_quantile_is_its_derivative():
    """Of one that is picked, as an explanation does; XLA's of a running sum is not."""
    task = tasks.build("regression", loss="quantile")
    rng = np.random.default_rng(0)
    pooled = jnp.asarray(rng.normal(size=(ROWS, 8)), jnp.float32)
    mask, first = jnp.ones((ROWS, 1), bool), jnp.zeros((ROWS, 1), jnp.int32)
    shapes = jax.eval_shape(
        lambda: task.init(
            jax.random.key(0), Fused(pooled[:, None], mask, pooled, {}), train=False,
            method="head_outputs",
        )
    )  # fmt: skip
    params = reference.random_like(unbox(shapes)["params"])

    def picked(pooled):
        fused = Fused(pooled[:, None], mask, pooled, {"text": (0, 1)})
        found = task.apply({"params": params}, fused, train=False, method="head_outputs")
        return jnp.take_along_axis(found.reshape(ROWS, 1, 3)[..., 1], first, axis=1)[:, 0]

    along = jnp.asarray(rng.normal(size=pooled.shape), jnp.float32)
    _, derivative = jax.jvp(picked, (pooled,), (along,))
    slopes = jax.jit(jax.grad(lambda one: picked(one).sum()))(pooled)
    np.testing.assert_allclose((slopes * along).sum(axis=1), derivative, rtol=1e-5)
