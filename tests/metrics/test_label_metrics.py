import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as reference

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.metrics.label_sums import multi_label_from_sums, multi_label_sums
from mmjax.metrics.sums import merge
from mmjax.metrics.thresholds import best_thresholds

NAMES = ["ant", "bee", "cat", "dog", "eel"]


def random_case(seed=0, rows=80, labels=5, *, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.random((rows, labels)) < np.linspace(0.05, 0.7, labels)
    logits = (rng.normal(size=truth.shape) + 2.0 * truth - 1).astype(np.float32)
    if ties:
        logits = logits.round()
    return logits, truth


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def expected(scores, truth, predicted):
    """scikit-learn's numbers; labels that no row has are left out of means over rankings."""
    kept = {"zero_division": 0}
    found = {
        "subset_accuracy": reference.accuracy_score(truth, predicted),
        "hamming_loss": reference.hamming_loss(truth, predicted),
        "lrap": reference.label_ranking_average_precision_score(truth, scores),
        "micro_ap": reference.average_precision_score(truth, scores, average="micro"),
    }
    for average in ("micro", "macro", "weighted", "samples"):
        for name in ("precision", "recall", "f1"):
            score = getattr(reference, f"{name}_score")
            found[f"{average}_{name}"] = score(truth, predicted, average=average, **kept)
    both = truth.any(0) & ~truth.all(0)
    some = truth.any(0)
    found["macro_auroc"] = reference.roc_auc_score(truth[:, both], scores[:, both])
    found["map"] = reference.average_precision_score(truth[:, some], scores[:, some])
    columns = reference.precision_recall_fscore_support(truth, predicted, **kept)
    for name, values in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        found |= {f"{name}/{label}": value for label, value in zip(NAMES, values, strict=True)}
    for i in np.flatnonzero(both):
        found[f"auroc/{NAMES[i]}"] = reference.roc_auc_score(truth[:, i], scores[:, i])
        found[f"ap/{NAMES[i]}"] = reference.average_precision_score(truth[:, i], scores[:, i])
    return found


def _nothing_predicted(logits, truth):
    return np.full_like(logits, -3), truth


def _all_predicted(logits, truth):
    return np.full_like(logits, 3), truth


def _one_label_never_there(logits, truth):
    return logits, truth & (np.arange(5) != 2)


def _rows_with_none_and_with_all(logits, truth):
    truth[:10], truth[10:20] = False, True
    return logits, truth


@pytest.mark.parametrize(
    "edge",
    [
        None,
        _nothing_predicted,
        _all_predicted,
        _one_label_never_there,
        _rows_with_none_and_with_all,
    ],
    ids=lambda edge: edge.__name__.strip("_") if edge else "random",
)
@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_scikit_learn(edge, ties):
    logits, truth = random_case(ties=ties)
    if edge:
        logits, truth = edge(logits, truth)
    scores = sigmoid(logits)
    found = metrics.multi_label(scores, truth, label_names=NAMES)
    want = expected(scores, truth, scores >= 0.5)
    assert {name: found[name] for name in want} == pytest.approx(want, abs=1e-9)


def test_each_label_has_its_threshold():
    logits, truth = random_case(seed=3)
    scores = sigmoid(logits)
    thresholds = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    found = metrics.multi_label(scores, truth, thresholds=thresholds, label_names=NAMES)
    want = expected(scores, truth, scores >= thresholds)
    assert {name: found[name] for name in want} == pytest.approx(want, abs=1e-9)


def test_a_label_that_no_row_has_has_no_ranking():
    found = metrics.multi_label(np.array([[0.2, 0.9], [0.4, 0.1]]), np.array([[0, 1], [0, 1]]))
    assert np.isnan(found["ap/0"])
    assert np.isnan(found["auroc/0"])
    assert np.isnan(found["auroc/1"])
    assert np.isnan(found["macro_auroc"])
    assert found["ap/1"] == found["map"] == 1.0
    nothing = metrics.multi_label(np.full((2, 2), 0.1), np.zeros((2, 2), bool))
    assert nothing["weighted_f1"] == nothing["macro_f1"] == nothing["hamming_loss"] == 0.0
    assert nothing["subset_accuracy"] == nothing["lrap"] == 1.0
    assert np.isnan(nothing["map"])


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([[0.5, 1.5]], [[0, 1]], "probability 1.5.*row 0, column 1"),
        ([[0.5, float("nan")]], [[0, 1]], "nan"),
        ([[0.5, 0.5]], [[0, 1, 1]], "shape"),
        ([[0.5, 0.5]], [[0, 2]], "more than 0 and 1"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "shape"),
    ],
)
def test_bad_input_is_one_clear_error(scores, labels, said):
    with pytest.raises(DataError, match=said):
        metrics.multi_label(np.asarray(scores), np.asarray(labels))


class TestSums:
    step = staticmethod(jax.jit(multi_label_sums))

    def test_batches_add_up_to_what_the_host_computes(self):
        logits, truth = random_case(seed=1, rows=72)
        total = None
        for start in range(0, 96, 32):
            rows = np.arange(start, start + 32)
            inside = rows < 72
            rows = np.minimum(rows, 71)
            batch = np.where(inside[:, None], logits[rows], np.nan)
            found = self.step(batch, truth[rows], inside.astype(np.float32))
            total = found if total is None else merge(total, found)
        found = multi_label_from_sums(jax.device_get(total), NAMES)
        whole = metrics.multi_label(sigmoid(logits), truth, label_names=NAMES)
        assert set(found) - set(whole) == {"log_loss"}
        for name, value in found.items():
            if name != "log_loss":
                assert value == pytest.approx(whole[name], abs=1e-6), name
        columns = [reference.log_loss(truth[:, i], sigmoid(logits[:, i])) for i in range(5)]
        assert found["log_loss"] == pytest.approx(np.mean(columns), rel=1e-5)

    def test_sharded_over_eight_devices_equals_one(self):
        logits, truth = random_case(rows=64, seed=2)
        rows = np.ones(64, np.float32)
        mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        sharded = self.step(*jax.device_put((logits, truth, rows), sharding))
        for name, value in self.step(logits, truth, rows).items():
            np.testing.assert_allclose(sharded[name], value, rtol=1e-6, err_msg=name)

    def test_no_rows_are_nan(self):
        found = self.step(jnp.ones((4, 5)), jnp.ones((4, 5), bool), jnp.zeros(4))
        assert all(np.isnan(v) for v in multi_label_from_sums(jax.device_get(found)).values())


class TestThresholds:
    @staticmethod
    def best(scores, truth, average):
        """The highest F1 over all cuts, by scikit-learn."""
        cuts = [0.0, *((np.unique(scores)[1:] + np.unique(scores)[:-1]) / 2)]
        return max(
            reference.f1_score(truth, scores >= cut, average=average, zero_division=0)
            for cut in cuts
        )

    def test_no_cut_has_a_higher_f1(self):
        for ties in (False, True):
            logits, truth = random_case(seed=5, rows=20, ties=ties)
            scores = sigmoid(logits)
            for i, cut in enumerate(best_thresholds(scores, truth)):
                found = reference.f1_score(truth[:, i], scores[:, i] >= cut)
                assert found == pytest.approx(self.best(scores[:, i], truth[:, i], "binary"))

    def test_one_for_all_has_the_highest_micro_f1(self):
        logits, truth = random_case(seed=6, rows=10)
        scores = sigmoid(logits)
        cuts = best_thresholds(scores, truth, shared=True)
        assert len(set(cuts.tolist())) == 1
        found = reference.f1_score(truth, scores >= cuts, average="micro")
        assert found == pytest.approx(self.best(scores, truth, "micro"))

    def test_of_equally_good_ones_the_nearest_to_the_default(self):
        scores = np.array([[0.1, 0.2], [0.9, 0.3], [0.2, 0.4]])
        truth = np.array([[0, 0], [1, 0], [0, 0]], bool)
        np.testing.assert_array_equal(best_thresholds(scores, truth), [0.5, 0.5])
        high = best_thresholds(np.array([[0.7], [0.9]]), np.array([[0], [1]], bool))
        np.testing.assert_allclose(high, [0.8])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(best_thresholds(scores[:, :1], truth[:, 1:]), [0.5])
