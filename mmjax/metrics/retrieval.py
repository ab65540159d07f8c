"""Retrieval between two sets, such as pictures and captions, each asking for the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool, Float, Shaped
from mmjax.metrics.ranks import Ranks, cutoffs, matrix, mean, ranks_of_relevant, yes_or_no

KS = (1, 5, 10)


def retrieval(
    similarity: Float[np.ndarray, "n m"],
    *,
    relevant: Bool[np.ndarray, "n m"] | None = None,
    ks: Sequence[int] = KS,
    names: tuple[str, str] = ("a", "b"),
) -> dict[str, float]:
    """Every retrieval metric as a flat dict, in float64, rows asking for columns and back.

    For `a_to_b` (a row asks for columns) and `b_to_a`, over the queries with a relevant item:
    - `a_to_b/recall@<k>` for each k of `ks`: the share of queries with a relevant item among the
      first k. With several captions a picture this is the field's R@k (Karpathy & Fei-Fei 2015);
      the share of *items* found is `mmjax.metrics.ranking`'s recall@k.
    - `a_to_b/mean_rank`, `a_to_b/median_rank`: of the first relevant item, counted from 1.
    - `a_to_b/mrr`: the mean of 1 / that rank.
    - `a_to_b/map`: mean average precision over all ranks.
    - `a_to_b/ndcg@<k>`: normalised discounted cumulative gain, discount log2(1 + rank).
    - `a_to_b/queries`, `a_to_b/left_out`: how many queries have a relevant item, and how many none.

    Without the prefix, each name but the last two is the mean of both ways. `names` stand for a and
    b: ("image", "text") gives `image_to_text/recall@1`. `relevant` is the diagonal if None. Of
    equal similarities the lower index ranks first. A way without a relevant item is NaN. Raises
    DataError for shapes that do not fit, values that are NaN, and a matrix that is not square where
    `relevant` is None.
    """
    scores = matrix(similarity, "similarity")
    rows, columns = scores.shape
    if relevant is None and rows != columns:
        raise DataError(
            540,
            f"similarity is {rows} x {columns}, and nothing says what is relevant",
            fix="give relevant [n m], or as many rows as columns",
        )
    truth = None if relevant is None else yes_or_no(relevant, scores.shape, "relevant")
    ids = np.arange(rows)

    def matches(part: slice) -> np.ndarray:
        return ids[part, None] == ids if truth is None else truth[part]

    def matches_back(part: slice) -> np.ndarray:
        return matches(part) if truth is None else truth.T[part]

    return _both_ways(
        ranks_of_relevant(scores.__getitem__, matches, rows, columns),
        ranks_of_relevant(scores.T.__getitem__, matches_back, columns, rows),
        cutoffs(ks),
        names,
    )


def retrieval_of_embeddings(
    a: Float[np.ndarray, "n e"],
    b: Float[np.ndarray, "m e"],
    *,
    a_ids: Shaped[np.ndarray, "n"] | None = None,
    b_ids: Shaped[np.ndarray, "m"] | None = None,
    ks: Sequence[int] = KS,
    names: tuple[str, str] = ("a", "b"),
) -> dict[str, float]:
    """As `retrieval` by cosine similarity in float32; the whole matrix [n m] never exists.

    Rows are relevant to each other where their ids are equal (a caption carries its picture's), or
    row by row if none are given. A vector of zeros has similarity 0 to all.
    """
    left, right = unit(matrix(a, names[0])), unit(matrix(b, names[1]))
    if left.shape[1] != right.shape[1]:
        raise DataError(
            540,
            f"vectors of {names[0]} have {left.shape[1]} numbers, of {names[1]} {right.shape[1]}",
            fix="give both in one joint space",
        )
    if a_ids is None and b_ids is None and len(left) != len(right):
        raise DataError(
            540,
            f"{len(left)} rows of {names[0]}, {len(right)} of {names[1]}, and no ids",
            fix="give a_ids and b_ids",
        )
    known = _same_numbers(
        np.arange(len(left)) if a_ids is None else np.asarray(a_ids),
        np.arange(len(right)) if b_ids is None else np.asarray(b_ids),
        (len(left), len(right)),
    )

    def way(queries: np.ndarray, items: np.ndarray, own: np.ndarray, theirs: np.ndarray) -> Ranks:
        return ranks_of_relevant(
            lambda part: queries[part] @ items.T,
            lambda part: own[part, None] == theirs[None],
            len(queries),
            len(items),
        )

    return _both_ways(
        way(left, right, *known), way(right, left, *reversed(known)), cutoffs(ks), names
    )


def unit(vectors: Float[np.ndarray, "n e"]) -> Float[np.ndarray, "n e"]:
    """The vectors at length 1, in float32; one of zeros stays as it is."""
    values = np.asarray(vectors).astype(np.float32)
    length = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return (values / np.where(length > 0, length, 1.0)).astype(np.float32)


def _same_numbers(
    own: np.ndarray, theirs: np.ndarray, rows: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of any type as numbers that are equal where the ids are."""
    if own.shape != (rows[0],) or theirs.shape != (rows[1],):
        raise DataError(
            540,
            f"ids have shapes {list(own.shape)} and {list(theirs.shape)}",
            fix=f"expected [{rows[0]}] and [{rows[1]}]",
        )
    _, numbers = np.unique(np.concatenate([own, theirs]), return_inverse=True)
    return numbers[: rows[0]], numbers[rows[0] :]


def _both_ways(
    forth: Ranks, back: Ranks, ks: Sequence[int], names: tuple[str, str]
) -> dict[str, float]:
    ways = {f"{names[0]}_to_{names[1]}": forth, f"{names[1]}_to_{names[0]}": back}
    found = {way: _metrics(ranks, ks) for way, ranks in ways.items()}
    one, other = found.values()
    return {
        **{name: (one[name] + other[name]) / 2 for name in one},
        **{f"{way}/{name}": value for way, own in found.items() for name, value in own.items()},
        **{
            f"{way}/{name}": float(count)
            for way, ranks in ways.items()
            for name, count in (("queries", len(ranks.counts)), ("left_out", ranks.left_out))
        },
    }


def _metrics(ranks: Ranks, ks: Sequence[int]) -> dict[str, float]:
    first = ranks.first()
    return {
        **{f"recall@{k}": mean(first <= k) for k in ks},
        "mean_rank": mean(first),
        "median_rank": float(np.median(first)) if len(first) else float("nan"),
        "mrr": mean(1.0 / first),
        "map": mean(ranks.average_precision()),
        **{f"ndcg@{k}": mean(ranks.ndcg(k)) for k in ks},
    }
