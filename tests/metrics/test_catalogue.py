"""The ranking of a whole catalogue on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from mmjax.metrics import ranking
from mmjax.metrics.catalogue import catalogue_from_sums, catalogue_sums, rank_catalogue

KS = (1, 3, 10)
ROWS, ITEMS, WIDTH, MOST = 12, 37, 4, 3


def _data(*, ties: bool, seed: int = 0):
    rng = np.random.default_rng(seed)
    # Small whole numbers: products are exact in any order, and many scores are equal.
    draw = (lambda *s: rng.integers(-1, 2, s)) if ties else (lambda *s: rng.normal(size=s))
    users, items, bias = draw(ROWS, WIDTH), draw(ITEMS, WIDTH), draw(ITEMS)
    seen = rng.random((ROWS, ITEMS)) < 0.3
    relevant = np.full((ROWS, MOST), -1)
    for row in range(ROWS):
        count = row % (MOST + 1)
        relevant[row, :count] = rng.choice(ITEMS, count, replace=False)
    seen[3] = True  # has seen all
    seen[7] = True
    seen[7, relevant[7, relevant[7] >= 0]] = False  # nothing is left but what is relevant
    return (
        users.astype(np.float32),
        items.astype(np.float32),
        bias.astype(np.float32),
        relevant.astype(np.int32),
        seen,
    )


def _gains(relevant):
    gains = np.zeros((ROWS, ITEMS))
    for row, found in enumerate(relevant):
        gains[row, found[found >= 0]] = 1
    return gains


run = jax.jit(rank_catalogue, static_argnames=("top", "chunk"))


@pytest.mark.parametrize("chunk", [5, 64])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_are_those_of_the_whole_matrix(ties, chunk):
    users, items, bias, relevant, seen = _data(ties=ties)
    ranked = run(users, items, bias, relevant, seen, top=6, chunk=chunk)
    scores = users.astype(np.float64) @ items.T.astype(np.float64) + bias
    found = catalogue_from_sums(catalogue_sums(ranked, jnp.ones(ROWS), ks=KS))
    expected = ranking(scores, _gains(relevant), ks=KS, exclude=seen)
    for name in ("mrr", "map", "left_out", *(f"{m}@{k}" for m in ("ndcg", "recall") for k in KS)):
        assert found[name] == pytest.approx(expected[name], abs=1e-6), name
    assert found["users"] == expected["queries"]
    for k in KS:
        assert found[f"hit_rate@{k}"] == pytest.approx(expected[f"hit_rate@{k}"])
    areas = []
    for row in range(ROWS):
        kept = ~seen[row]
        truth = _gains(relevant)[row, kept]
        if 0 < truth.sum() < kept.sum():
            areas.append(roc_auc_score(truth, scores[row, kept]))
    assert found["auc"] == pytest.approx(np.mean(areas), abs=1e-6)
    shown = np.where(seen, -np.inf, scores)
    order = np.argsort(-shown, axis=1, kind="stable")[:, :6]
    best = np.take_along_axis(shown, order, axis=1)
    np.testing.assert_allclose(ranked.scores, best, atol=1e-5)
    real = np.isfinite(best)
    np.testing.assert_array_equal(np.asarray(ranked.items)[real], order[real])
    some = np.isfinite(shown).any(axis=1)
    total = np.log(np.exp(shown[some]).sum(axis=1))
    np.testing.assert_allclose(np.asarray(ranked.log_normalizer)[some], total, atol=1e-5)


def test_scikit_learn_agrees_where_no_scores_are_equal():
    users, items, bias, relevant, _ = _data(ties=False, seed=4)
    ranked = run(users, items, bias, relevant, None, top=6, chunk=8)
    found = catalogue_from_sums(catalogue_sums(ranked, jnp.ones(ROWS), ks=KS))
    gains = _gains(relevant)
    kept = gains.any(axis=1)
    scores = (users.astype(np.float64) @ items.T + bias)[kept]
    for k in KS:
        assert found[f"ndcg@{k}"] == pytest.approx(ndcg_score(gains[kept], scores, k=k), abs=1e-6)
    precision = [average_precision_score(g, s) for g, s in zip(gains[kept], scores, strict=True)]
    assert found["map"] == pytest.approx(np.mean(precision), abs=1e-6)


def test_sums_of_parts_add_up_and_padding_counts_nowhere():
    users, items, bias, relevant, seen = _data(ties=False)
    whole = catalogue_sums(run(users, items, bias, relevant, seen), jnp.ones(ROWS), ks=KS)
    ranked = run(users, items, bias, relevant, seen)
    here = jnp.arange(ROWS) < 5
    parts = [catalogue_sums(ranked, rows.astype(jnp.float32), ks=KS) for rows in (here, ~here)]
    for name, value in whole.items():
        assert float(parts[0][name] + parts[1][name]) == pytest.approx(float(value), abs=1e-5)


def test_nothing_relevant_is_not_a_number():
    users, items, bias, relevant, _ = _data(ties=False)
    ranked = run(users, items, bias, np.full_like(relevant, -1), np.ones((ROWS, ITEMS), bool))
    found = catalogue_from_sums(catalogue_sums(ranked, jnp.ones(ROWS), ks=KS))
    assert found["users"] == 0
    assert found["left_out"] == ROWS
    assert all(np.isnan(found[name]) for name in ("mrr", "map", "auc", "ndcg@10"))
    assert not np.isfinite(ranked.scores).any()
