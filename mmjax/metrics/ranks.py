"""Where the relevant items of each query rank: what retrieval and ranking metrics are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Float, Int

_AT_ONCE = 2**24
"""So many scores are looked at together; 128 MiB in float64."""

Rows = Callable[[slice], np.ndarray]
"""The rows of a matrix that a slice names."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ranks:
    """The 1-based ranks of relevant items, query after query, each query's ascending.

    `counts` [n] says how many belong to each of the n queries that have any; `left_out` counts the
    others. `gains` go with `ranks`; 1 where relevance is a yes or no.
    """

    ranks: Int[np.ndarray, "pairs"]
    gains: Float[np.ndarray, "pairs"]
    counts: Int[np.ndarray, "n"]
    left_out: int

    def first(self) -> Int[np.ndarray, "n"]:
        """The rank of each query's best relevant item."""
        return self.ranks[self._starts()]

    def found(self, k: int) -> Int[np.ndarray, "n"]:
        """How many relevant items of each query rank among the first k."""
        return self._sum(self.ranks <= k)

    def average_precision(self) -> Float[np.ndarray, "n"]:
        """The mean over a query's relevant items of the precision at their ranks."""
        return self._sum(self._positions() / self.ranks) / self.counts

    def ndcg(self, k: int) -> Float[np.ndarray, "n"]:
        """Discounted gain of the first k over that of the best order, discount log2(1 + rank).

        Järvelin & Kekäläinen 2002 with gains as they are, which is scikit-learn's `ndcg_score`.
        """
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        best = self.gains[np.lexsort((-self.gains, owner))]
        return self._discounted(self.gains, self.ranks, k) / self._discounted(
            best, self._positions(), k
        )

    def _discounted(self, gains: np.ndarray, ranks: np.ndarray, k: int) -> np.ndarray:
        return self._sum(np.where(ranks <= k, gains / np.log2(1.0 + ranks), 0.0))

    def _starts(self) -> np.ndarray:
        return np.cumsum(self.counts) - self.counts

    def _positions(self) -> np.ndarray:
        """1, 2, ... within each query."""
        return np.arange(1, len(self.ranks) + 1) - np.repeat(self._starts(), self.counts)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), self._starts())


def ranks_of_relevant(scores: Rows, gains: Rows, queries: int, items: int) -> Ranks:
    """Ranks of the items whose gain is above 0; of equal scores the lower index ranks first.

    Both functions give rows [q items] for a slice of queries, so that no whole matrix need exist.
    Raises DataError for a score that is NaN.
    """
    step = max(1, _AT_ONCE // max(items, 1))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, queries, step):
        part = slice(start, min(start + step, queries))
        values = np.asarray(scores(part))
        if values.dtype != np.float32:
            values = values.astype(np.float64)
        if np.isnan(values).any():
            row, column = np.argwhere(np.isnan(values))[0].tolist()
            raise DataError(
                542,
                "a score is NaN",
                where=f"row {start + row}, column {column}",
                fix="look for a diverged model or an empty input",
            )
        found += [_of_query(*one) for one in zip(values, np.asarray(gains(part)), strict=True)]
    kept = [one for one in found if len(one[0])]
    none = np.zeros(0)
    return Ranks(
        np.concatenate([ranks for ranks, _ in kept] or [none.astype(np.int64)]),
        np.concatenate([gain for _, gain in kept] or [none]),
        np.array([len(ranks) for ranks, _ in kept], np.int64),
        queries - len(kept),
    )


def _of_query(scores: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ranks of one query's relevant items, ascending, and their gains."""
    items = np.flatnonzero(gains)
    own = scores[items]
    ordered = np.sort(scores)
    upto = np.searchsorted(ordered, own, side="right")
    ranks = len(scores) - upto + 1
    equal = upto - np.searchsorted(ordered, own, side="left")
    for i in np.flatnonzero(equal > 1):
        ranks[i] += np.count_nonzero(scores[: items[i]] == own[i])
    order = np.argsort(ranks)
    return ranks[order], gains[items[order]].astype(np.float64)


def matrix(values: np.ndarray, name: str) -> np.ndarray:
    """`values` as a matrix of real numbers [n m] with rows and columns."""
    values = np.asarray(values)
    if values.ndim != 2 or not values.size:
        raise DataError(
            540, f"{name} has shape {list(values.shape)}", fix="expected [n m], n and m at least 1"
        )
    # bfloat16 and float8 are of kind V, as records are.
    if values.dtype.kind not in "biufV" or values.dtype.names is not None:
        raise DataError(541, f"{name} is {values.dtype}", fix="expected real numbers")
    return values


def yes_or_no(values: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """`values` as bool of a shape; numbers must be 0 or 1."""
    values = np.asarray(values)
    if values.shape != shape:
        raise DataError(
            540, f"{name} has shape {list(values.shape)}", fix=f"expected {list(shape)}"
        )
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise DataError(541, f"{name} holds more than 0 and 1", fix="give true or false")
    return values.astype(bool)


def cutoffs(ks: Iterable[int]) -> Sequence[int]:
    """The ranks that metrics look down to: whole numbers of at least 1, each once."""
    found = list(dict.fromkeys(ks))
    wrong = [k for k in found if isinstance(k, bool) or int(k) != k or k < 1]
    if wrong:
        raise DataError(541, f"ks holds {wrong[0]!r}", fix="expected whole numbers of at least 1")
    return [int(k) for k in found]


def mean(values: np.ndarray) -> float:
    """The mean; NaN of nothing, without a warning."""
    return float(np.mean(values)) if len(values) else float("nan")
