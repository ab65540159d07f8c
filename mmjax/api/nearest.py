"""The vectors nearest to a query: exactly, or by an approximate index of faiss."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.extras import require
from mmjax.core.files import atomic_path
from mmjax.core.typing import Float, Int

Metric = Literal["cosine", "dot"]
_AT_ONCE = 2**22
"""So many numbers of the corpus are looked at together; 32 MiB in float64."""
_LINKS, _BUILD, _CANDIDATES = 32, 200, 10
"""HNSW: links a vector, breadth of building, and candidates for each row that is asked for."""


def nearest(
    queries: Float[np.ndarray, "q e"],
    vectors: Float[np.ndarray, "n e"],
    top: int,
    *,
    metric: Metric = "cosine",
) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
    """Similarities, falling, and rows of the k most similar vectors, k the lesser of `top` and n.

    Similarities are computed in float64 and compared in float32; of equal ones the lower row comes
    first. Cosine with a vector of zeros is 0. The corpus is read in pieces.
    """
    count, width = vectors.shape
    questions = _scaled(queries, metric)
    kept = min(top, count)
    best = np.zeros((len(questions), 0), np.float32)
    rows = np.zeros((len(questions), 0), np.int64)
    step = max(1, _AT_ONCE // max(width, len(questions)))
    for start in range(0, count, step):
        found = (questions @ _scaled(vectors[start : start + step], metric).T).astype(np.float32)
        at = np.broadcast_to(np.arange(start, start + found.shape[1]), found.shape)
        best, rows = _largest(np.hstack([best, found]), np.hstack([rows, at]), kept)
    return best, rows


def _scaled(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    values = np.asarray(vectors).astype(np.float64)
    if metric == "dot":
        return values
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(length > 0, length, 1.0)


def _largest(values: np.ndarray, rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest of each line, falling; the rows of a line ascend where values equal."""
    if values.shape[1] > count:
        # All that equal the last one stay for the sort: which of them a partition keeps is chance.
        least = -np.partition(-values, count - 1, axis=1)[:, count - 1]
        lines = [np.flatnonzero(line >= last) for line, last in zip(values, least, strict=True)]
    else:
        lines = [np.arange(values.shape[1])] * len(values)
    order = [
        kept[np.lexsort((rows[i, kept], -values[i, kept]))[:count]] for i, kept in enumerate(lines)
    ]
    picked = np.array(order, np.int64).reshape(len(values), -1)
    return np.take_along_axis(values, picked, 1), np.take_along_axis(rows, picked, 1)


class Approximate:
    """A graph over the vectors (HNSW, Malkov & Yashunin 2016) that looks at few of them.

    What it proposes is ranked by exact similarity, so only which rows are found is approximate.
    Needs the extra `search` (faiss).
    """

    def __init__(self, graph: Any, metric: Metric):
        self._graph = graph
        self.metric = metric

    @classmethod
    def build(cls, vectors: Float[np.ndarray, "n e"], metric: Metric = "cosine") -> Approximate:
        """The graph of a corpus; takes memory of about 4 e + 300 bytes a vector."""
        faiss = require("faiss", "search")
        graph = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = _BUILD
        step = max(1, _AT_ONCE // vectors.shape[1])
        for start in range(0, len(vectors), step):
            graph.add(_scaled(vectors[start : start + step], metric).astype(np.float32))
        return cls(graph, metric)

    @classmethod
    def load(cls, path: str | os.PathLike, rows: int, width: int, metric: Metric) -> Approximate:
        """What `save` wrote. Raises DataError if it is damaged or of other vectors."""
        faiss = require("faiss", "search")
        try:
            graph = faiss.read_index(os.fspath(path))
        except RuntimeError as error:
            raise DataError(
                560, f"'{path}' is no index of faiss", fix="delete it, it is built anew"
            ) from error
        if (graph.ntotal, graph.d) != (rows, width) or not hasattr(graph, "hnsw"):
            raise DataError(
                560,
                f"'{path}' is of {graph.ntotal} vectors of {graph.d} numbers, "
                f"not of {rows} of {width}",
                fix="delete it, it is built anew",
            )
        return cls(graph, metric)

    def save(self, path: str | os.PathLike) -> Path:
        """One file, whole or absent."""
        with atomic_path(path) as temporary:
            require("faiss", "search").write_index(self._graph, os.fspath(temporary))
        return Path(path)

    def nearest(
        self, queries: Float[np.ndarray, "q e"], vectors: Float[np.ndarray, "n e"], top: int
    ) -> tuple[Float[np.ndarray, "q k"], Int[np.ndarray, "q k"]]:
        """As `nearest` of the same `vectors`, which may miss some."""
        kept = min(top, len(vectors))
        breadth = min(len(vectors), _CANDIDATES * kept)
        self._graph.hnsw.efSearch = max(breadth, 64)
        asked = _scaled(queries, self.metric).astype(np.float32)
        _, candidates = self._graph.search(asked, breadth)
        found = [
            self._exactly(query[None], vectors, rows[rows >= 0], kept)
            for query, rows in zip(queries, candidates, strict=True)
        ]
        return np.concatenate([one for one, _ in found]), np.concatenate([at for _, at in found])

    def _exactly(
        self, query: np.ndarray, vectors: np.ndarray, rows: np.ndarray, top: int
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.sort(rows)
        if len(rows) < top:  # the graph fell apart: too many vectors are the same
            return nearest(query, vectors, top, metric=self.metric)
        values, at = nearest(query, vectors[rows], top, metric=self.metric)
        return values, rows[at]
