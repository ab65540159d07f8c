import numpy as np
import pytest
import sklearn.metrics as reference

from mmjax import metrics
from mmjax.core.errors import DataError


def test_small_case_by_hand():
    scores = np.array([[5.0, 4.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    relevant = np.array([[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])
    found = metrics.ranking(scores, relevant, ks=(1, 2, 10))
    # Ranks of relevant items: 2 and 4; 2; none.
    assert (found["queries"], found["left_out"]) == (2, 1)
    assert [found[f"precision@{k}"] for k in (1, 2, 10)] == pytest.approx([0, 0.5, 0.15])
    assert [found[f"recall@{k}"] for k in (1, 2, 10)] == pytest.approx([0, 0.75, 1])
    assert [found[f"hit_rate@{k}"] for k in (1, 2, 10)] == pytest.approx([0, 1, 1])
    assert found["mrr"] == 0.5
    assert found["map"] == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1 / 2) / 2)
    first = (1 / np.log2(3)) / (1 + 1 / np.log2(3))
    assert found["ndcg@2"] == pytest.approx((first + 1 / np.log2(3)) / 2)


@pytest.mark.parametrize("graded", [False, True])
def test_agrees_with_scikit_learn(graded):
    rng = np.random.default_rng(int(graded))
    scores = rng.normal(size=(30, 50))
    gains = rng.integers(0, 4, scores.shape) * (rng.random(scores.shape) < 0.2)
    gains[:, 0] = 1  # no query is left out
    gains = gains if graded else gains > 0
    found = metrics.ranking(scores, gains, ks=(1, 5, 50))
    for k in (1, 5, 50):
        assert found[f"ndcg@{k}"] == pytest.approx(reference.ndcg_score(gains, scores, k=k))
    precision = reference.label_ranking_average_precision_score(gains > 0, scores)
    assert found["map"] == pytest.approx(precision)
    order = np.argsort(-scores, axis=1)
    top = np.take_along_axis(gains > 0, order, axis=1)[:, :5]
    assert found["precision@5"] == pytest.approx(top.mean())
    assert found["recall@5"] == pytest.approx((top.sum(1) / (gains > 0).sum(1)).mean())
    assert found["hit_rate@5"] == pytest.approx(top.any(axis=1).mean())


def test_excluded_items_are_as_if_they_were_not_there():
    rng = np.random.default_rng(7)
    scores, relevant = rng.normal(size=(6, 9)), rng.random((6, 9)) < 0.4
    scores[:, 4] = -np.inf
    seen = np.zeros((6, 9), bool)
    seen[:, [0, 3, 5]] = True
    found = metrics.ranking(scores, relevant, exclude=seen, ks=(1, 3))
    kept = [1, 2, 4, 6, 7, 8]
    assert found == metrics.ranking(scores[:, kept], relevant[:, kept], ks=(1, 3))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"relevance": np.ones((2, 3))}, "MMX-540: relevance has shape [2, 3]"),
        ({"relevance": -np.eye(2)}, "MMX-542: a gain is negative"),
        ({"relevance": np.full((2, 2), np.nan)}, "MMX-542: a gain is negative or not finite"),
        ({"scores": np.full((2, 2), np.nan)}, "MMX-542: a score is NaN"),
        ({"exclude": np.ones((3, 2), bool)}, "MMX-540: exclude has shape [3, 2]"),
    ],
)
def test_bad_input_is_refused(arguments, told):
    with pytest.raises(DataError) as error:
        metrics.ranking(**{"scores": np.eye(2), "relevance": np.eye(2), **arguments})
    assert told in str(error.value)
