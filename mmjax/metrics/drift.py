"""Whether rows come from where others came from: two samples against each other."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from mmjax.core.errors import DataError
from mmjax.core.typing import Float, Int


def mean_discrepancy(
    first: Float[np.ndarray, "n d"],
    second: Float[np.ndarray, "m d"],
    *,
    permutations: int = 200,
    seed: int = 0,
) -> dict[str, float]:
    """`mmd`, the unbiased squared maximum mean discrepancy of vectors, and `p` by permutation.

    The kernel is exp(-|a - b|^2 / (2 s^2)), s the median distance of all vectors (Gretton et al.
    2012, "A Kernel Two-Sample Test", lemma 6 and section 8). p is the share of relabellings, this
    one included, that are no less apart. Raises DataError for fewer than two vectors a sample.
    """
    counts = len(first), len(second)
    if min(counts) < 2:
        raise DataError(540, f"{counts[0]} and {counts[1]} vectors", fix="two or more of each")
    both = np.concatenate([first, second]).astype(np.float64)
    squared = cdist(both, both, "sqeuclidean")
    inner = squared[np.triu_indices(len(both), 1)]
    middle = float(np.median(inner))
    kernel = np.exp(-squared / (2 * middle)) if middle > 0 else np.ones_like(squared)
    np.fill_diagonal(kernel, 0.0)
    rng = np.random.default_rng(seed)
    labels = np.repeat([1.0, 0.0], counts)
    drawn = np.stack([labels, *(rng.permutation(labels) for _ in range(permutations))], axis=1)
    apart = _discrepancies(kernel, drawn, *counts)
    # Relabellings that are equal but for rounding are no less apart.
    p = float(np.mean(apart >= apart[0] - 1e-12))
    return {"mmd": float(apart[0]), "p": p}


def _discrepancies(
    kernel: Float[np.ndarray, "k k"], labels: Float[np.ndarray, "k times"], n: int, m: int
) -> Float[np.ndarray, "times"]:
    """Of each column of labels, 1 for the first sample."""
    others = 1.0 - labels
    towards = kernel @ labels
    own = (labels * towards).sum(axis=0) / (n * (n - 1))
    cross = (others * towards).sum(axis=0) / (n * m)
    rest = (others * (kernel @ others)).sum(axis=0) / (m * (m - 1))
    return own + rest - 2 * cross


def stability_index(first: Int[np.ndarray, "c"], second: Int[np.ndarray, "c"]) -> dict[str, float]:
    """`psi`, the population stability index of two counts of the same classes, and `p`.

    PSI is the sum over the classes that occur of (b - a) log(b / a) of their shares, where each
    count is half a row more so that none is empty; p is that of the chi-squared test of equal
    shares.
    Raises DataError for samples without rows.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or not first.sum() or not second.sum():
        raise DataError(540, f"counts {first.tolist()} and {second.tolist()}", fix="rows of each")
    known = (first + second) > 0
    first, second = first[known], second[known]
    a, b = (first + 0.5) / (first + 0.5).sum(), (second + 0.5) / (second + 0.5).sum()
    p = 1.0
    if len(first) > 1:
        p = float(stats.chi2_contingency(np.stack([first, second])).pvalue)
    return {"psi": float(((b - a) * np.log(b / a)).sum()), "p": p}


def distribution_distance(
    first: Float[np.ndarray, "n"], second: Float[np.ndarray, "m"]
) -> dict[str, float]:
    """`ks`, the largest difference of two samples' distribution functions, and `p`.

    The two-sample Kolmogorov-Smirnov test; numbers that are not finite are left out. Raises
    DataError where that leaves nothing.
    """
    first, second = (np.asarray(one, np.float64) for one in (first, second))
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if not len(first) or not len(second):
        raise DataError(540, f"{len(first)} and {len(second)} numbers", fix="numbers of each")
    found = stats.ks_2samp(first, second)
    return {"ks": float(found.statistic), "p": float(found.pvalue)}


def share_change(first: tuple[int, int], second: tuple[int, int]) -> dict[str, float]:
    """`change`, the second share less the first, of (how many, of how many); `p` by Fisher's test.

    Raises DataError for a share of nothing.
    """
    (a, n), (b, m) = first, second
    if n < 1 or m < 1:
        raise DataError(540, f"shares of {n} and {m} rows", fix="rows of each")
    p = float(stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue)
    return {"change": b / m - a / n, "p": p}
