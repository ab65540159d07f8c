import jax
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as reference

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.metrics.number_sums import regression_from_sums, regression_sums
from mmjax.metrics.sums import merge

NAMES = ("price", "size")
LEVELS = (0.1, 0.5, 0.9)


def random_case(seed=0, rows=60, *, ties=False):
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(rows, 2))
    predictions = targets + rng.normal(size=(rows, 2)) * [0.5, 1.5]
    if ties:
        targets, predictions = targets.round(), predictions.round()
    return predictions.astype(np.float32), targets.astype(np.float32)


def expected(predictions, targets):
    columns = list(zip(np.float64(predictions).T, np.float64(targets).T, strict=True))
    return {
        "mae": [reference.mean_absolute_error(t, p) for p, t in columns],
        "rmse": [reference.root_mean_squared_error(t, p) for p, t in columns],
        "r2": [reference.r2_score(t, p) for p, t in columns],
        "pearson": [scipy.stats.pearsonr(p, t).statistic for p, t in columns],
        "spearman": [scipy.stats.spearmanr(p, t).statistic for p, t in columns],
    }


@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_scikit_learn_and_scipy(ties):
    predictions, targets = random_case(ties=ties)
    found = metrics.regression(predictions, targets, names=NAMES)
    want = expected(predictions, targets)
    assert list(found)[:5] == list(want)
    for metric, values in want.items():
        assert found[metric] == pytest.approx(np.mean(values), rel=1e-9), metric
        assert [found[f"{metric}/{name}"] for name in NAMES] == pytest.approx(values, rel=1e-9)
    one = metrics.regression(predictions[:, 0], targets[:, 0])
    assert one == pytest.approx({metric: values[0] for metric, values in want.items()}, rel=1e-9)


def test_unknown_targets_count_nowhere():
    predictions, targets = random_case(seed=1)
    targets[::3, 0] = np.nan
    known = ~np.isnan(targets[:, 0])
    found = metrics.regression(predictions, targets, names=NAMES)
    want = expected(predictions[known][:, :1], targets[known][:, :1])
    for metric, values in want.items():
        assert found[f"{metric}/price"] == pytest.approx(values[0], rel=1e-9)
    targets[:, 1] = np.nan
    found = metrics.regression(predictions, targets)
    assert np.isnan(found["mae/1"])
    assert found["mae"] == found["mae/0"]


def test_constant_targets_and_predictions():
    targets, predictions = np.full(4, 0.1), np.array([0.1, 0.2, 0.1, 0.1])
    found = metrics.regression(predictions, targets)
    assert found["r2"] == reference.r2_score(targets, predictions) == 0.0
    assert np.isnan(found["pearson"])
    assert np.isnan(found["spearman"])
    exact = metrics.regression(targets, targets)
    assert exact["r2"] == reference.r2_score(targets, targets) == 1.0
    flat = metrics.regression(targets, predictions)
    assert flat["r2"] == pytest.approx(reference.r2_score(predictions, targets))
    assert np.isnan(flat["pearson"])
    single = metrics.regression(np.array([1.0]), np.array([3.0]))
    assert (single["mae"], single["rmse"]) == (2.0, 2.0)
    assert np.isnan(single["r2"])


def test_large_numbers_do_not_overflow():
    predictions, targets = random_case(seed=2)
    found = metrics.regression(1e100 * np.float64(predictions), 1e100 * np.float64(targets))
    want = metrics.regression(predictions, targets)
    assert found["pearson"] == pytest.approx(want["pearson"])
    assert found["r2"] == pytest.approx(want["r2"])


def test_quantiles_agree_with_scikit_learn():
    rng = np.random.default_rng(3)
    targets = rng.normal(size=(50, 2))
    each = np.sort(rng.normal(size=(50, 2, 3)), axis=-1)
    targets[:5, 1] = np.nan
    found = metrics.quantile_regression(each, targets, LEVELS, names=NAMES)
    for i, name in enumerate(NAMES):
        known = ~np.isnan(targets[:, i])
        truth, own = targets[known, i], each[known, i]
        losses = [
            reference.mean_pinball_loss(truth, own[:, j], alpha=q) for j, q in enumerate(LEVELS)
        ]
        assert found[f"pinball/{name}"] == pytest.approx(np.mean(losses))
        inside = np.mean((own[:, 0] <= truth) & (truth <= own[:, 2]))
        assert found[f"coverage/{name}"] == pytest.approx(inside)
        assert found[f"interval/{name}"] == pytest.approx(np.mean(own[:, 2] - own[:, 0]))
    with pytest.raises(DataError, match="expected \\[n t 3\\]"):
        metrics.quantile_regression(each[..., :2], targets, LEVELS)


@pytest.mark.parametrize(
    ("predictions", "targets", "said"),
    [
        ([1.0], [1.0, 2.0], "shape"),
        ([], [], "shape"),
        ([float("nan")], [1.0], "nan.*row 0"),
        ([1.0], [float("inf")], "inf"),
        (["a"], [1.0], "give numbers"),
    ],
)
def test_bad_input_is_one_clear_error(predictions, targets, said):
    with pytest.raises(DataError, match=said):
        metrics.regression(np.asarray(predictions), np.asarray(targets))


class TestSums:
    step = staticmethod(
        jax.jit(
            lambda p, t, rows, each: regression_sums(
                p, t, rows, quantile_predictions=each, quantiles=LEVELS
            )
        )
    )

    def test_uneven_batches_add_up_to_what_the_host_computes(self):
        predictions, targets = random_case(seed=4, rows=72)
        targets[7:20, 0] = np.nan
        each = predictions[..., None] + np.float32([-1, 0, 1])
        total = None
        for start in range(0, 96, 32):
            rows = np.arange(start, start + 32)
            inside = rows < 72
            rows = np.minimum(rows, 71)
            batch = np.where(inside[:, None], predictions[rows], np.nan)
            found = self.step(batch, targets[rows], inside.astype(np.float32), each[rows])
            total = found if total is None else merge(total, found)
        deviations = (3.0, 0.5)
        found = regression_from_sums(jax.device_get(total), names=NAMES, deviations=deviations)
        want = metrics.regression(predictions * deviations, targets * deviations, names=NAMES)
        scaled = each * np.array(deviations)[:, None]
        want |= metrics.quantile_regression(scaled, targets * deviations, LEVELS, names=NAMES)
        want = {name: value for name, value in want.items() if "spearman" not in name}
        assert set(found) == set(want)
        assert found == pytest.approx(want, rel=1e-4)

    def test_sharded_over_eight_devices_equals_one(self):
        predictions, targets = random_case(rows=64, seed=5)
        rows, each = np.ones(64, np.float32), np.stack([predictions] * 3, -1)
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        sharded = self.step(*jax.device_put((predictions, targets, rows, each), sharding))
        for name, value in self.step(predictions, targets, rows, each).items():
            np.testing.assert_allclose(sharded[name], value, rtol=2e-6, err_msg=name)

    def test_no_rows_are_nan_and_constants_have_no_correlation(self):
        ones = np.ones((32, 2), np.float32)
        each = np.stack([ones] * 3, -1)
        found = regression_from_sums(
            jax.device_get(self.step(ones, ones, np.zeros(32, np.float32), each))
        )
        assert all(np.isnan(value) for value in found.values())
        flat = regression_from_sums(
            jax.device_get(self.step(0.3 * ones, 0.1 * ones, ones[:, 0], each))
        )
        assert np.isnan(flat["pearson"])
        assert flat["r2"] == 0.0
