"""Kernel ridge regression from one frozen feature space into another, in closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.typing import ArrayLike, Float, Shaped

Kernel = Literal["linear", "cosine", "rbf", "precomputed"]
Score = Callable[[np.ndarray, np.ndarray], float]

KERNELS = ("linear", "cosine", "rbf", "precomputed")
GRID = tuple(float(value) for value in 10.0 ** np.arange(-5, 3.1, 0.5))
"""Ridges that are tried unless told, as shares of the centred kernel's mean diagonal."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class KernelRidge:
    """A fitted map; `ridge` is the one that was chosen, `scores` those of all that were tried.

    `anchors` are the rows it was fitted on (none of a precomputed kernel), `dual` their weights,
    and `held_out` what it predicts of each row when fitted on the others.
    """

    kernel: Kernel
    bandwidth: float
    ridge: float
    scores: Mapping[float, float]
    anchors: Float[np.ndarray, "n d"] | None
    dual: Float[np.ndarray, "n e"]
    means: Float[np.ndarray, "n"]
    offset: Float[np.ndarray, "e"]
    held_out: Float[np.ndarray, "n e"]

    def transform(self, x: ArrayLike) -> Float[np.ndarray, "b e"]:
        """Rows [b d] of the first space in the second, in float64.

        Of a precomputed kernel, its values [b n] between these rows and the fitted ones.
        """
        given = np.asarray(x, np.float64)
        width = len(self.dual) if self.anchors is None else self.anchors.shape[1]
        if given.ndim != 2 or given.shape[1] != width:
            raise DataError(540, f"x has shape {list(given.shape)}", fix=f"expected [b {width}]")
        values = given
        if self.anchors is not None:
            values = gram(given, self.anchors, kernel=self.kernel, bandwidth=self.bandwidth)
        # The mean over rows of a centred kernel's column is added by weights that sum to 0.
        return (values - self.means) @ self.dual + self.offset


def kernel_ridge(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kernel: Kernel = "cosine",
    bandwidth: float | None = None,
    ridge: float | Sequence[float] | None = None,
    groups: ArrayLike | Sequence | None = None,
    score: Score | None = None,
) -> KernelRidge:
    """The map f from `x` [n d] to `y` [n e] with the least |y - f(x)|^2 + ridge |f|^2.

    Saunders, Gammerman & Vovk 1998, with an intercept that is not penalised: the kernel is centred.
    `kernel` is linear (x.z), cosine, rbf (exp(-|x - z|^2 / (2 bandwidth^2)), the median distance
    between rows if `bandwidth` is None), or precomputed (`x` [n n], say a sum of `gram`s).

    Of several ridges the one with the best `score(held_out, y)` is taken, by default minus the mean
    squared error, where `held_out` are predictions of each row from a fit without it. They come in
    closed form from one decomposition (Stone 1974's leave-one-out; rows of one of `groups`, such as
    two pictures of a thing, are left out together), so n rows cost n^3 once. With None, shares of
    the kernel's mean diagonal from 1e-5 to 1e3 are tried.

    On the host in float64. Raises DataError for rows that do not fit each other or are not finite,
    ConfigError for an unknown kernel and a ridge that is not above 0.
    """
    if kernel not in KERNELS:
        raise ConfigError(109, f"no kernel '{kernel}'", fix=nearest(kernel, KERNELS))
    source, target = _rows(x, "x"), _rows(y, "y")
    count = len(source)
    if len(target) != count or count < 2 or (kernel == "precomputed" and source.shape[1] != count):
        raise DataError(
            540,
            f"x has shape {list(source.shape)}, y {list(target.shape)}",
            fix="give both the same rows, two or more; a precomputed kernel is [n n]",
        )
    if bandwidth is None:
        bandwidth = median_distance(source) if kernel == "rbf" else 1.0
    values = source
    if kernel != "precomputed":
        values = gram(source, source, kernel=kernel, bandwidth=bandwidth)
    means = values.mean(axis=0)
    centred = values - means - means[:, None] + means.mean()
    offset = target.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh((centred + centred.T) / 2)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    turned = vectors.T @ (target - offset)
    members = _members(groups, count)
    scores: dict[float, float] = {}
    best: tuple[float, np.ndarray] | None = None
    for one in _ridges(ridge, eigenvalues):
        shrunk = eigenvalues / (eigenvalues + one)
        fitted = (vectors * shrunk) @ turned + offset
        held_out = _held_out(vectors, shrunk, fitted, target, members)
        error = -float(np.mean((held_out - target) ** 2))
        scores[one] = error if score is None else float(score(held_out, target))
        if best is None or scores[one] > scores[best[0]]:
            best = one, held_out
    assert best is not None
    chosen, held_out = best
    # A row's own centring: (k - means - mean(k) + mean(means)) @ dual, and dual's columns sum to 0.
    dual = (vectors / (eigenvalues + chosen)) @ turned
    dual -= dual.mean(axis=0)
    anchors = None if kernel == "precomputed" else source
    return KernelRidge(kernel, bandwidth, chosen, scores, anchors, dual, means, offset, held_out)


def gram(
    x: Shaped[ArrayLike, "b d"],
    z: Shaped[ArrayLike, "n d"],
    *,
    kernel: Kernel = "cosine",
    bandwidth: float = 1.0,
) -> Float[np.ndarray, "b n"]:
    """The kernel between rows, in float64; kernels may be added and multiplied."""
    left, right = np.asarray(x, np.float64), np.asarray(z, np.float64)
    if kernel == "cosine":
        left, right = _unit(left), _unit(right)
    if kernel != "rbf":
        return left @ right.T
    return np.exp(-_squared_distances(left, right) / (2 * bandwidth**2))


def median_distance(x: Shaped[ArrayLike, "n d"], *, most: int = 1000) -> float:
    """The median distance between rows that differ, of at most so many rows evenly spaced."""
    rows = np.asarray(x, np.float64)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]
    squared = _squared_distances(rows, rows)[np.triu_indices(len(rows), 1)]
    apart = squared[squared > 0]
    return float(np.sqrt(np.median(apart))) if len(apart) else 1.0


def _squared_distances(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    squares = (x**2).sum(axis=1)[:, None] + (z**2).sum(axis=1)
    return np.maximum(squares - 2 * (x @ z.T), 0.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def _rows(values: ArrayLike, name: str) -> np.ndarray:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise DataError(540, f"{name} has shape {list(rows.shape)}", fix="expected [n d]")
    if not np.isfinite(rows).all():
        raise DataError(542, f"{name} is not finite", fix="give only rows that have both views")
    return rows


def _ridges(ridge: float | Sequence[float] | None, eigenvalues: np.ndarray) -> list[float]:
    if ridge is None:
        unit = float(eigenvalues.mean()) or 1.0
        return [share * unit for share in GRID]
    given = [float(one) for one in (ridge if isinstance(ridge, Sequence) else [ridge])]
    wrong = [one for one in given if not (np.isfinite(one) and one > 0)]
    if wrong or not given:
        raise ConfigError(106, f"ridge = {ridge!r} is out of range", fix="give numbers above 0")
    return given


def _members(groups: ArrayLike | Sequence | None, count: int) -> list[np.ndarray]:
    """The rows of each group that has several; rows alone need no list."""
    if groups is None:
        return []
    names = np.asarray(groups)
    if names.shape != (count,):
        raise DataError(540, f"groups have shape {list(names.shape)}", fix=f"expected [{count}]")
    _, number = np.unique(names, return_inverse=True)
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number))[:-1])
    if len(parts) < 2:
        raise DataError(541, "all rows are of one group", fix="give two groups or more")
    return [part for part in parts if len(part) > 1]


def _held_out(
    vectors: np.ndarray,
    shrunk: np.ndarray,
    fitted: np.ndarray,
    target: np.ndarray,
    members: Sequence[np.ndarray],
) -> np.ndarray:
    """What fits without a row, or without its group, predict of it.

    With the hat matrix H (H y = fitted), the residuals of a group that is left out are
    (I - H_gg)^-1 times its residuals.
    """
    count = len(target)
    residuals = target - fitted
    leverage = (vectors**2) @ shrunk + 1.0 / count
    apart = residuals / np.maximum(1.0 - leverage, 1e-12)[:, None]
    for rows in members:
        hat = (vectors[rows] * shrunk) @ vectors[rows].T + 1.0 / count
        apart[rows] = np.linalg.lstsq(np.eye(len(rows)) - hat, residuals[rows], rcond=None)[0]
    return target - apart
