"""Alignment of the second moments of two domains."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Shaped


def coral_loss(
    source: Float[Array, "b d"],
    target: Float[Array, "m d"],
    *,
    source_mask: Bool[Array, "b"] | None = None,
    target_mask: Bool[Array, "m"] | None = None,
) -> Float[Array, ""]:
    """|C_source - C_target|^2 / (4 d^2), the squared Frobenius norm between covariances.

    Deep CORAL (Sun and Saenko 2016, equations 1 to 3); covariances are of rows divided by their
    number - 1. The rows need no pairs, and those where a mask is False do not count. In float32.
    """
    difference = _covariance(source, source_mask) - _covariance(target, target_mask)
    return jnp.sum(jnp.square(difference)) / (4 * source.shape[1] ** 2)


def _covariance(values: Float[Array, "b d"], mask: Bool[Array, "b"] | None) -> Float[Array, "d d"]:
    valid = jnp.ones((len(values), 1), bool) if mask is None else mask[:, None]
    count = valid.sum()
    values = jnp.where(valid, values.astype(jnp.float32), 0.0)
    centred = jnp.where(valid, values - values.sum(axis=0) / jnp.maximum(count, 1), 0.0)
    return centred.T @ centred / jnp.maximum(count - 1, 1)


def coral_alignment(
    source: Shaped[ArrayLike, "b d"], target: Shaped[ArrayLike, "m d"], *, ridge: float = 1.0
) -> Float[np.ndarray, "d d"]:
    """The A for which rows `source @ A` have the covariance of `target`.

    CORAL (Sun et al. 2016, algorithm 1): C_source^(-1/2) C_target^(1/2), `ridge` on both diagonals,
    1 in the paper; with 0 the covariances agree exactly where that of `source` has full rank. The
    means are left as they are. On the host in float64. Raises DataError for rows that do not fit.
    """
    given = np.asarray(source, np.float64), np.asarray(target, np.float64)
    for name, one in zip(("source", "target"), given, strict=True):
        if one.ndim != 2 or one.shape[1] != given[0].shape[-1] or len(one) < 2:
            raise DataError(
                540,
                f"{name} has shape {list(one.shape)}",
                fix="two arrays [b d] of the same d, of two rows or more",
            )
        if not np.isfinite(one).all():
            raise DataError(542, f"{name} is not finite", fix="leave out the rows that lack it")
    damped = [
        np.atleast_2d(np.cov(one, rowvar=False)) + ridge * np.eye(one.shape[1]) for one in given
    ]
    return _power(damped[0], -0.5) @ _power(damped[1], 0.5)


def _power(covariance: np.ndarray, exponent: float) -> np.ndarray:
    """Of a symmetric matrix; directions without variance stay so."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > np.finfo(np.float64).eps * len(values) * values.max()
    powers = np.where(kept, np.where(kept, values, 1.0) ** exponent, 0.0)
    return (vectors * powers) @ vectors.T
