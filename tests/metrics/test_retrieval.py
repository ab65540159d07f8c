import ml_dtypes
import numpy as np
import pytest
import sklearn.metrics as reference

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.metrics import ranks as ranks_file

WAYS = ("a_to_b", "b_to_a")


def by_hand(similarity, relevant, ks):
    """The definitions, one query at a time, from a stable sort."""
    found = {}
    firsts, precisions, gains = [], [], {k: [] for k in ks}
    for scores, wanted in zip(similarity, relevant, strict=True):
        if not wanted.any():
            continue
        order = np.argsort(-scores, kind="stable")
        hits = wanted[order]
        places = np.flatnonzero(hits) + 1
        firsts.append(places[0])
        precisions.append(np.mean([hits[:p].mean() for p in places]))
        for k in ks:
            best = sum(1 / np.log2(i + 2) for i in range(min(k, hits.sum())))
            gains[k].append(sum(1 / np.log2(p + 1) for p in places if p <= k) / best)
    for k in ks:
        found[f"recall@{k}"] = np.mean([first <= k for first in firsts])
        found[f"ndcg@{k}"] = np.mean(gains[k])
    found["mean_rank"], found["median_rank"] = np.mean(firsts), np.median(firsts)
    found["mrr"], found["map"] = np.mean([1 / f for f in firsts]), np.mean(precisions)
    return found


def case(seed, rows=23, columns=41, rounded=None):
    rng = np.random.default_rng(seed)
    similarity = rng.normal(size=(rows, columns))
    if rounded is not None:
        similarity = similarity.round(rounded)
    return similarity, rng.random((rows, columns)) < 0.06


def test_small_case_by_hand():
    similarity = np.array([[0.9, 0.1, 0.5], [0.8, 0.3, 0.2], [0.1, 0.7, 0.6]])
    found = metrics.retrieval(similarity, ks=(1, 2))
    # Ranks of the diagonal: rows 1, 2, 2; columns 1, 2, 1.
    assert found["a_to_b/recall@1"] == pytest.approx(1 / 3)
    assert found["a_to_b/recall@2"] == 1
    assert found["b_to_a/recall@1"] == pytest.approx(2 / 3)
    assert found["recall@1"] == pytest.approx(1 / 2)
    assert found["a_to_b/mean_rank"] == pytest.approx(5 / 3)
    assert found["b_to_a/mean_rank"] == pytest.approx(4 / 3)
    assert (found["a_to_b/median_rank"], found["b_to_a/median_rank"]) == (2, 1)
    assert found["a_to_b/mrr"] == found["a_to_b/map"] == pytest.approx(2 / 3)
    assert found["a_to_b/ndcg@1"] == pytest.approx(1 / 3)
    assert found["a_to_b/ndcg@2"] == pytest.approx((1 + 2 / np.log2(3)) / 3)
    assert (found["a_to_b/queries"], found["a_to_b/left_out"]) == (3, 0)


@pytest.mark.parametrize("rounded", [None, 1, 0])
def test_agrees_with_the_definitions_ties_and_several_relevant_items(rounded):
    similarity, relevant = case(1, rounded=rounded)
    found = metrics.retrieval(similarity, relevant=relevant, ks=(1, 3, 10, 100))
    for way, scores, truth in zip(
        WAYS, (similarity, similarity.T), (relevant, relevant.T), strict=True
    ):
        want = by_hand(scores, truth, (1, 3, 10, 100))
        for name, value in want.items():
            assert found[f"{way}/{name}"] == pytest.approx(value, abs=1e-12), (way, name)
        assert found[f"{way}/left_out"] == (~truth.any(axis=1)).sum() > 0
        assert found[f"{way}/queries"] + found[f"{way}/left_out"] == len(truth)
        for name in want:
            both = [found[f"{one}/{name}"] for one in WAYS]
            assert found[name] == pytest.approx(np.mean(both))


def test_agrees_with_scikit_learn():
    similarity, relevant = case(2)
    kept = relevant.any(axis=1)
    found = metrics.retrieval(similarity, relevant=relevant)
    precision = reference.label_ranking_average_precision_score(relevant[kept], similarity[kept])
    assert found["a_to_b/map"] == pytest.approx(precision)
    one_by_one = [
        reference.average_precision_score(truth, scores)
        for truth, scores in zip(relevant[kept], similarity[kept], strict=True)
    ]
    assert found["a_to_b/map"] == pytest.approx(np.mean(one_by_one))
    for k in (1, 5, 10):
        want = reference.ndcg_score(relevant[kept], similarity[kept], k=k)
        assert found[f"a_to_b/ndcg@{k}"] == pytest.approx(want)
    single = np.random.default_rng(3).normal(size=(50, 50))
    top = reference.top_k_accuracy_score(np.arange(50), single, k=5)
    assert metrics.retrieval(single)["a_to_b/recall@5"] == pytest.approx(top)


def test_of_equal_similarities_the_lower_index_comes_first():
    found = metrics.retrieval(np.zeros((4, 4)), ks=(1, 2))
    assert found["a_to_b/mean_rank"] == found["b_to_a/mean_rank"] == 2.5
    assert found["recall@1"] == 0.25
    assert found["recall@2"] == 0.5


def test_chunks_and_types_change_nothing(monkeypatch):
    similarity, relevant = case(4, rounded=1)
    want = metrics.retrieval(similarity, relevant=relevant)
    monkeypatch.setattr(ranks_file, "_AT_ONCE", 100)
    assert metrics.retrieval(similarity, relevant=relevant.astype(int)) == want
    whole = (similarity * 10).round()
    assert metrics.retrieval(whole.astype(np.int32), relevant=relevant) == want
    assert metrics.retrieval(whole.astype(ml_dtypes.bfloat16), relevant=relevant) == want


def test_names_stand_for_the_two_sets():
    found = metrics.retrieval(np.eye(3), ks=(1,), names=("image", "text"))
    assert found["image_to_text/recall@1"] == found["text_to_image/recall@1"] == 1
    assert not [name for name in found if name.startswith("a_")]


def test_without_a_relevant_item_there_is_no_number():
    found = metrics.retrieval(np.eye(3), relevant=np.zeros((3, 3), bool), ks=(1,))
    counts = {name for name in found if name.endswith(("queries", "left_out"))}
    assert all(np.isnan(value) for name, value in found.items() if name not in counts)
    assert [found[f"a_to_b/{name}"] for name in ("queries", "left_out")] == [0, 3]


def test_embeddings_are_compared_by_cosine_without_the_whole_matrix(monkeypatch):
    rng = np.random.default_rng(5)
    pictures, captions = rng.normal(size=(12, 6)), rng.normal(size=(60, 6))
    names = np.array([f"p{i}.png" for i in range(12)])
    of_caption = np.repeat(names, 5)
    cosine = (pictures / np.linalg.norm(pictures, axis=1)[:, None]) @ (
        captions / np.linalg.norm(captions, axis=1)[:, None]
    ).T
    want = metrics.retrieval(cosine, relevant=names[:, None] == of_caption)
    monkeypatch.setattr(ranks_file, "_AT_ONCE", 130)
    found = metrics.retrieval_of_embeddings(pictures, captions, a_ids=names, b_ids=of_caption)
    assert found == pytest.approx(want)
    paired = metrics.retrieval_of_embeddings(pictures, captions[:12])
    assert paired == pytest.approx(metrics.retrieval(cosine[:, :12]))
    nothing = metrics.retrieval_of_embeddings(np.zeros((2, 3)), np.ones((2, 3)), ks=(1,))
    assert nothing["recall@1"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"similarity": np.zeros(4)}, "MMX-540: similarity has shape [4]"),
        ({"similarity": np.zeros((0, 4))}, "MMX-540: similarity has shape [0, 4]"),
        ({"similarity": np.zeros((2, 3))}, "MMX-540: similarity is 2 x 3, and nothing says"),
        ({"similarity": np.eye(2, dtype=complex)}, "MMX-541: similarity is complex128"),
        ({"similarity": np.array([["a"]])}, "MMX-541: similarity is <U1"),
        ({"similarity": np.array([[0, 1], [np.nan, 0]])}, "MMX-542: a score is NaN | where: row 1"),
        ({"relevant": np.ones((2, 3), bool)}, "MMX-540: relevant has shape [2, 3]"),
        ({"relevant": np.full((2, 2), 0.5)}, "MMX-541: relevant holds more than 0 and 1"),
        ({"ks": (1, 0)}, "MMX-541: ks holds 0"),
        ({"ks": (1.5,)}, "MMX-541: ks holds 1.5"),
    ],
)
def test_bad_input_is_refused(arguments, told):
    with pytest.raises(DataError) as error:
        metrics.retrieval(**{"similarity": np.eye(2), **arguments})
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"b": np.ones((2, 4))}, "vectors of a have 3 numbers, of b 4"),
        ({"b": np.ones((5, 3))}, "2 rows of a, 5 of b, and no ids"),
        ({"b_ids": [1, 2, 3]}, "ids have shapes [2] and [3]"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(arguments, told):
    with pytest.raises(DataError, match="MMX-540") as error:
        metrics.retrieval_of_embeddings(**{"a": np.eye(2, 3), "b": np.eye(2, 3), **arguments})
    assert told in str(error.value)
