"""Exact and approximate nearest vectors."""

import importlib.util

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from mmjax.api import nearest as file
from mmjax.api.nearest import Approximate, nearest
from mmjax.core.errors import DataError
from mmjax.core.extras import MissingExtra

needs_faiss = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="no faiss")


def vectors(count=300, width=8, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("at_once", [2**22, 90])
def test_agrees_with_scikit_learn(monkeypatch, at_once):
    monkeypatch.setattr(file, "_AT_ONCE", at_once)
    corpus, queries = vectors(), vectors(7, seed=1)
    values, rows = nearest(queries, corpus, 12)
    distances, want = NearestNeighbors(metric="cosine").fit(corpus).kneighbors(queries, 12)
    np.testing.assert_array_equal(rows, want)
    np.testing.assert_allclose(values, 1 - distances, atol=1e-6)
    values, rows = nearest(queries, corpus, 12, metric="dot")
    product = queries.astype(np.float64) @ corpus.T
    np.testing.assert_array_equal(rows, np.argsort(-product, axis=1)[:, :12])
    np.testing.assert_allclose(values, -np.sort(-product, axis=1)[:, :12], rtol=1e-6)


@pytest.mark.parametrize("at_once", [2**22, 90, 8])
def test_of_equal_ones_the_lower_row_comes_first(monkeypatch, at_once):
    monkeypatch.setattr(file, "_AT_ONCE", at_once)
    few = vectors(5)
    corpus = few[np.random.default_rng(2).integers(0, 5, 200)] * np.float32(2.0)
    values, rows = nearest(few[:1], corpus, 60)
    order = np.lexsort((rows[0], -values[0]))
    np.testing.assert_array_equal(order, np.arange(60))
    same = np.flatnonzero((corpus == 2 * few[0]).all(axis=1))
    np.testing.assert_array_equal(rows[0, : len(same)], same)


def test_small_and_empty_vectors():
    values, rows = nearest(np.ones((1, 2)), np.array([[0.0, 0.0], [-1, -1], [1, 1]]), 9)
    assert rows.tolist() == [[2, 0, 1]]
    np.testing.assert_allclose(values, [[1, 0, -1]], atol=1e-7)


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"pip install 'mmjax\[search\]'"):
        Approximate.build(vectors())


@needs_faiss
def test_a_graph_finds_what_is_nearest(tmp_path):
    corpus, queries = vectors(3000, 16), vectors(50, 16, seed=3)
    built = Approximate.build(corpus)
    values, rows = built.nearest(queries, corpus, 10)
    want_values, want = nearest(queries, corpus, 10)
    found = np.mean([np.isin(a, b).mean() for a, b in zip(want, rows, strict=True)])
    assert found > 0.95
    same = rows == want
    np.testing.assert_array_equal(values[same], want_values[same])
    path = built.save(tmp_path / "a.faiss")
    again = Approximate.load(path, 3000, 16, "cosine").nearest(queries, corpus, 10)
    np.testing.assert_array_equal(again[1], rows)
    with pytest.raises(DataError, match=r"MMX-560.*3000 vectors of 16 numbers, not of 3000 of 8"):
        Approximate.load(path, 3000, 8, "cosine")
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"MMX-560.*no index of faiss"):
        Approximate.load(path, 3000, 16, "cosine")


@needs_faiss
def test_a_graph_of_equal_vectors_answers_as_many_as_asked():
    corpus = np.ones((50, 4), np.float32)
    values, rows = Approximate.build(corpus).nearest(corpus[:1], corpus, 7)
    assert rows.shape == (1, 7)
    assert values.tolist() == [[1.0] * 7]
