"""Ranked lists, as recommenders and search engines make them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool, Float
from mmjax.metrics.ranks import cutoffs, matrix, mean, ranks_of_relevant, yes_or_no


def ranking(
    scores: Float[np.ndarray, "n m"],
    relevance: Float[np.ndarray, "n m"],
    *,
    ks: Sequence[int] = (1, 5, 10),
    exclude: Bool[np.ndarray, "n m"] | None = None,
) -> dict[str, float]:
    """How well each row of `scores` (a user, a query) ranks its items, in float64.

    `relevance` is true or false, or a gain of at least 0; an item of a gain above 0 is relevant.
    Means over the queries with a relevant item:
    - `precision@<k>`: relevant items among the first k, over k, whatever the number of items.
    - `recall@<k>`: relevant items among the first k, over all relevant ones.
    - `hit_rate@<k>`: the share of queries with a relevant item among the first k.
    - `ndcg@<k>`: discounted cumulative gain over that of the best order, discount log2(1 + rank)
      and gains as they are; agrees with scikit-learn's `ndcg_score`.
    - `mrr`: the mean of 1 / rank of the first relevant item.
    - `map`: mean average precision over all ranks.
    - `queries`, `left_out`: how many queries have a relevant item, and how many none.

    Items that `exclude` marks (those a user has seen in training) are neither ranked nor relevant.
    Of equal scores the lower index ranks first. All is NaN where no query has a relevant item.
    Raises DataError for shapes that do not fit, scores that are NaN, and gains below 0.
    """
    values = matrix(scores, "scores")
    gains = matrix(relevance, "relevance")
    if gains.shape != values.shape:
        raise DataError(
            540, f"relevance has shape {list(gains.shape)}", fix=f"expected {list(values.shape)}"
        )
    if not (np.isfinite(gains) & (gains >= 0)).all():
        raise DataError(542, "a gain is negative or not finite", fix="give gains of at least 0")
    hidden = None if exclude is None else yes_or_no(exclude, values.shape, "exclude")

    def shown_scores(part: slice) -> np.ndarray:
        if hidden is None:
            return values[part]
        # Below every item that is shown, one of -inf too.
        shown = np.maximum(values[part].astype(np.float64), np.finfo(np.float64).min)
        return np.where(hidden[part], -np.inf, shown)

    def shown_gains(part: slice) -> np.ndarray:
        return gains[part] if hidden is None else np.where(hidden[part], 0, gains[part])

    ranks = ranks_of_relevant(shown_scores, shown_gains, *values.shape)
    first = ranks.first()
    cuts = cutoffs(ks)
    return {
        **{f"precision@{k}": mean(ranks.found(k) / k) for k in cuts},
        **{f"recall@{k}": mean(ranks.found(k) / ranks.counts) for k in cuts},
        **{f"hit_rate@{k}": mean(first <= k) for k in cuts},
        **{f"ndcg@{k}": mean(ranks.ndcg(k)) for k in cuts},
        "mrr": mean(1.0 / first),
        "map": mean(ranks.average_precision()),
        "queries": float(len(ranks.counts)),
        "left_out": float(ranks.left_out),
    }
