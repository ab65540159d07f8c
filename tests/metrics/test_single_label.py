import numpy as np
import pytest
import sklearn.metrics as reference

from mmjax import metrics
from mmjax.core.errors import DataError


def random_case(seed, rows=400, classes=7, present=None):
    rng = np.random.default_rng(seed)
    labels = rng.choice(present if present is not None else classes, rows)
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, labels, rng.uniform(0.1, 3.0, rows)


def one_versus_rest(score, labels, probabilities, weights):
    return np.mean(
        [score(labels == c, probabilities[:, c], sample_weight=weights) for c in np.unique(labels)]
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("classes", "present"), [(7, None), (7, [0, 2, 3, 6]), (3, None)])
def test_agrees_with_scikit_learn(classes, present, weighted):
    probabilities, labels, weights = random_case(classes, classes=classes, present=present)
    weights = weights if weighted else None
    found = metrics.classification(probabilities, labels, weights=weights, ks=(1, 2, 5))
    predictions = probabilities.argmax(1)
    kept = {"sample_weight": weights, "zero_division": 0}
    expected = {
        "accuracy": reference.accuracy_score(labels, predictions, sample_weight=weights),
        "macro_f1": reference.f1_score(labels, predictions, average="macro", **kept),
        "weighted_f1": reference.f1_score(labels, predictions, average="weighted", **kept),
        "macro_precision": reference.precision_score(labels, predictions, average="macro", **kept),
        "macro_recall": reference.recall_score(labels, predictions, average="macro", **kept),
        "auroc": one_versus_rest(reference.roc_auc_score, labels, probabilities, weights),
        "ap": one_versus_rest(reference.average_precision_score, labels, probabilities, weights),
        "mcc": reference.matthews_corrcoef(labels, predictions, sample_weight=weights),
        "log_loss": reference.log_loss(
            labels, probabilities, labels=range(classes), sample_weight=weights
        ),
        "top2_accuracy": reference.top_k_accuracy_score(
            labels, probabilities, k=2, labels=range(classes), sample_weight=weights
        ),
    }
    if present is None:  # scikit-learn warns about predictions of classes without labels
        expected["balanced_accuracy"] = reference.balanced_accuracy_score(
            labels, predictions, sample_weight=weights
        )
        if not weighted:
            expected["auroc"] = reference.roc_auc_score(labels, probabilities, multi_class="ovr")
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name
    assert ("top5_accuracy" in found) == (classes > 5)
    columns = reference.precision_recall_fscore_support(
        labels, predictions, labels=range(classes), **kept
    )
    for name, values in zip(("precision", "recall", "f1", "support"), columns, strict=True):
        got = [found[f"{name}/{c}"] for c in range(classes)]
        np.testing.assert_allclose(got, values, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes_have_the_metrics_of_the_second(weighted):
    probabilities, labels, weights = random_case(5, classes=2)
    probabilities = probabilities.round(1)  # with ties
    weights = weights if weighted else None
    found = metrics.classification(probabilities, labels, weights=weights)
    predictions, scores = probabilities.argmax(1), probabilities[:, 1]
    kept = {"sample_weight": weights}
    expected = {
        "auroc": reference.roc_auc_score(labels, scores, **kept),
        "ap": reference.average_precision_score(labels, scores, **kept),
        "precision": reference.precision_score(labels, predictions, **kept),
        "recall": reference.recall_score(labels, predictions, **kept),
        "specificity": reference.recall_score(1 - labels, 1 - predictions, **kept),
        "f1": reference.f1_score(labels, predictions, **kept),
        "mcc": reference.matthews_corrcoef(labels, predictions, **kept),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_two_classes_of_which_one_is_never_there():
    certain = np.array([[0.3, 0.7], [0.4, 0.6]])
    found = metrics.classification(certain, np.array([0, 0]))
    assert np.isnan(found["ap"])
    assert np.isnan(found["auroc"])
    assert found["mcc"] == found["f1"] == found["recall"] == found["precision"] == 0.0
    assert metrics.classification(certain, np.array([1, 1]))["ap"] == 1.0


def test_auroc_counts_equal_scores_half():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 5, 300) / 4
    labels = rng.integers(0, 2, 300)
    found = metrics.classification(np.stack([1 - first, first], 1), labels)["auroc"]
    assert found == pytest.approx(reference.roc_auc_score(labels, first), abs=1e-6)


def test_auroc_of_one_class_is_nan():
    assert np.isnan(
        metrics.classification(np.array([[0.3, 0.7], [0.4, 0.6]]), np.array([1, 1]))["auroc"]
    )


def test_ties_go_to_the_lower_index():
    probabilities = np.array([[0.4, 0.4, 0.1, 0.1], [0.4, 0.4, 0.1, 0.1], [0.1, 0.3, 0.3, 0.3]])
    found = metrics.classification(probabilities, np.array([1, 0, 3]), ks=(2, 3))
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["top2_accuracy"] == pytest.approx(2 / 3)
    assert found["top3_accuracy"] == 1.0


def test_log_loss_of_a_certain_mistake_is_clipped():
    probabilities = np.array([[1.0, 0.0], [0.25, 0.75]])
    found = metrics.classification(probabilities, np.array([1, 1]))["log_loss"]
    assert found == pytest.approx(reference.log_loss([1, 1], probabilities, labels=[0, 1]))


def test_calibration_error_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.91, 0.09], [0.45, 0.55], [0.6, 0.4]])
    labels = np.array([0, 1, 1, 0])
    # Ten bins: 0.95 and 0.91 share (0.9, 1.0]; 0.55 and 0.6 share (0.5, 0.6], closed on the right.
    sums = metrics.calibration_bins(probabilities, labels, bins=10)
    np.testing.assert_allclose(sums[:, 9], [2, 1.86, 1])
    np.testing.assert_allclose(sums[:, 5], [2, 1.15, 2])
    assert sums[0].sum() == 4
    expected = (2 * abs(0.93 - 0.5) + 2 * abs(0.575 - 1.0)) / 4
    found = metrics.classification(probabilities, labels, bins=10)["ece"]
    assert found == pytest.approx(expected)


def test_confusion_matrix_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    labels, predictions = rng.integers(0, 5, 200), rng.integers(0, 4, 200)
    found = metrics.confusion_matrix(labels, predictions, 6)
    expected = reference.confusion_matrix(labels, predictions, labels=range(6))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_names_and_values_are_plain():
    probabilities, labels, _ = random_case(3, classes=3)
    assert "f1/0" in metrics.classification(probabilities, labels, label_names=())
    found = metrics.classification(probabilities, labels, label_names=["a", "b/c", "d"])
    assert {"f1/a", "f1/b/c", "support/d"} <= set(found)
    assert all(type(value) is float for value in found.values())


GOOD = np.array([[0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("probabilities", "labels", "said"),
    [
        (GOOD[0], [0], "shape"),
        (GOOD[:0], [], "no rows"),
        (GOOD[:, :1], [0, 0], "shape"),
        (GOOD, [0], "1 labels for 2 rows"),
        (GOOD, [0, 2], "contain 2"),
        (GOOD, [0, -1], "contain -1"),
        (GOOD, [0, 3.7], "float64"),
        (GOOD, [[0], [1]], "shape"),
        (GOOD * [[1], [np.nan]], [0, 1], "row 1"),
        (GOOD * [[1], [7]], [0, 1], "softmax"),
        (np.array([[-2.0, 3.0], [0.5, 0.5]]), [0, 1], "softmax"),
    ],
)
def test_bad_input_is_one_clear_error(probabilities, labels, said):
    with pytest.raises(DataError, match=said):
        metrics.classification(probabilities, np.asarray(labels))


def test_bad_names_and_weights_are_refused():
    with pytest.raises(DataError, match="3 label names for 2"):
        metrics.classification(GOOD, np.array([0, 1]), label_names=["a", "b", "c"])
    with pytest.raises(DataError, match="'a' stands for 2"):
        metrics.classification(GOOD, np.array([0, 1]), label_names=["a", "a"])
    with pytest.raises(DataError, match="weights"):
        metrics.classification(GOOD, np.array([0, 1]), weights=np.zeros(2))
