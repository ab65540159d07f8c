"""Canonical correlation analysis in closed form."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import ArrayLike, Float, Shaped


@dataclasses.dataclass(frozen=True, eq=False)
class CCA:
    """Two views' linear maps into the space where they correlate most.

    `correlations` fall, one a dimension. With no ridge, each dimension of the transformed rows that
    were fitted has mean 0 and variance 1 in both views and is uncorrelated with the others; with
    one, the correlations are those of the damped covariances.
    """

    means: tuple[Float[np.ndarray, "d"], Float[np.ndarray, "e"]]
    weights: tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "e k"]]
    correlations: Float[np.ndarray, "k"]

    def transform(
        self, values: Shaped[ArrayLike, "b n"], view: Literal["x", "y"]
    ) -> Float[np.ndarray, "b k"]:
        """Rows of one view in the joint space, in float64."""
        index = 0 if view == "x" else 1
        given = np.asarray(values, np.float64)
        if given.shape[-1:] != self.means[index].shape:
            raise DataError(
                540,
                f"rows of view '{view}' have shape {list(given.shape)}",
                fix=f"expected [b {len(self.means[index])}]",
            )
        return (given - self.means[index]) @ self.weights[index]


def cca(
    x: Shaped[ArrayLike, "b d"],
    y: Shaped[ArrayLike, "b e"],
    dimensions: int | None = None,
    *,
    ridge: float = 0.0,
) -> CCA:
    """The `dimensions` pairs of directions of two views with the largest correlations.

    Hotelling (1936), through the singular values of the whitened cross-covariance; `ridge` is added
    to the diagonal of both covariances (of rows divided by b - 1). As many dimensions as the views
    allow if None. A pair's sign is the one in which the largest weight of `x` is positive.

    Row i of `x` belongs to row i of `y`. On the host in float64. Raises DataError for views that do
    not fit each other or are not finite, ConfigError for more dimensions than the lesser rank.
    """
    views = (np.asarray(x, np.float64), np.asarray(y, np.float64))
    for name, one in zip("xy", views, strict=True):
        if one.ndim != 2 or len(one) != len(views[0]) or len(one) < 2:
            raise DataError(
                540,
                f"view '{name}' has shape {list(one.shape)}",
                fix="two views of [b d] with the same rows, two or more",
            )
        if not np.isfinite(one).all():
            raise DataError(
                542, f"view '{name}' is not finite", fix="give only rows that have both views"
            )
    means = (views[0].mean(axis=0), views[1].mean(axis=0))
    (left, of_x), (right, of_y) = (
        _whitened(one - mean, ridge) for one, mean in zip(views, means, strict=True)
    )
    rank = min(of_x.shape[1], of_y.shape[1])
    count = rank if dimensions is None else dimensions
    if not 1 <= count <= rank:
        raise ConfigError(
            109,
            f"dimensions={dimensions} of views of the ranks {of_x.shape[1]} and {of_y.shape[1]}",
            fix=f"dimensions={rank}" if rank else "views that are not constant",
        )
    turn_x, correlations, turn_y = np.linalg.svd(left.T @ right, full_matrices=False)
    weights = of_x @ turn_x[:, :count], of_y @ turn_y[:count].T
    largest = np.abs(weights[0]).argmax(axis=0)
    signs = np.sign(weights[0][largest, np.arange(count)])
    return CCA(means, (weights[0] * signs, weights[1] * signs), correlations[:count])


def _whitened(centred: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows divided by sqrt(b - 1), in the directions of their rank scaled by 1 / sqrt(variance +
    ridge), and the map that does so. From the rows themselves: their covariance would square the
    condition number."""
    rows, values, directions = np.linalg.svd(centred, full_matrices=False)
    kept = values > np.finfo(np.float64).eps * max(centred.shape) * max(
        values.max(initial=0), 1e-300
    )
    deviations = values[kept] / np.sqrt(len(centred) - 1)
    scales = 1.0 / np.sqrt(deviations**2 + ridge)
    return rows[:, kept] * deviations * scales, directions[kept].T * scales
