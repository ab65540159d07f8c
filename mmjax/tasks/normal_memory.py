"""What normal rows look like, kept as numbers: a bank of vectors, or their mean and spread.

Made on the host once a model is trained, and asked on the device.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int

MOST = 20_000
"""Vectors that a bank is chosen from; of more, evenly spaced ones."""

_ROWS_AT_ONCE = 16


def coreset(vectors: Float[np.ndarray, "n d"], size: int) -> Int[np.ndarray, "m"]:
    """Positions of `size` vectors that lie near all: the greedy k-centre of PatchCore.

    The first is the one nearest to the mean; each next is the one furthest from those chosen (Roth
    et al. 2022, algorithm 1, without its random projection). All positions if there are no more.
    """
    if len(vectors) <= size:
        return np.arange(len(vectors))
    values = np.asarray(vectors, np.float32)
    squares = np.square(values).sum(axis=1)
    chosen = np.zeros(size, np.int64)
    chosen[0] = np.square(values - values.mean(axis=0)).sum(axis=1).argmin()
    nearest = np.full(len(values), np.inf, np.float32)
    for i in range(1, size):
        last = values[chosen[i - 1]]
        apart = squares + squares[chosen[i - 1]] - 2 * (values @ last)
        nearest = np.minimum(nearest, apart)
        # What is chosen is no candidate, also where rounding leaves it a distance.
        nearest[chosen[i - 1]] = -np.inf
        chosen[i] = nearest.argmax()
    return np.sort(chosen)


def thinned(vectors: Float[np.ndarray, "n d"], most: int = MOST) -> Float[np.ndarray, "m d"]:
    """The vectors, of more than `most` that many, evenly spaced."""
    if len(vectors) <= most:
        return vectors
    return vectors[np.linspace(0, len(vectors) - 1, most).astype(np.int64)]


def gaussian(
    vectors: Float[np.ndarray, "n d"], shrinkage: float
) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d d"]]:
    """Mean and whitening W of vectors: |W (x - mean)|^2 is the squared Mahalanobis distance.

    The covariance (divided by n) is mixed with `shrinkage` parts of the identity times its mean
    variance, as a covariance of few vectors cannot be inverted (Ledoit & Wolf 2004, whose optimal
    share this is not).
    """
    values = np.asarray(vectors, np.float64)
    mean = values.mean(axis=0)
    apart = values - mean
    covariance = apart.T @ apart / len(values)
    scale = max(float(np.trace(covariance)) / len(mean), 1e-12)
    covariance = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(len(mean))
    return mean, np.linalg.inv(np.linalg.cholesky(covariance))


def packed(array: np.ndarray) -> dict[str, Any]:
    """A float32 array as JSON values, exactly."""
    plain = np.ascontiguousarray(array, "<f4")
    return {"shape": list(plain.shape), "float32": base64.b64encode(plain.tobytes()).decode()}


def unpacked(value: Mapping[str, Any]) -> Float[np.ndarray, "..."]:
    """The inverse of `packed`."""
    flat = np.frombuffer(base64.b64decode(value["float32"]), "<f4")
    return flat.reshape(tuple(value["shape"]))


def nearest_distance(
    vectors: Float[Array, "b n d"],
    valid: Bool[Array, "b n"],
    bank: Float[ArrayLike, "m d"],
    *,
    neighbours: int,
) -> Float[Array, "b"]:
    """The mean Euclidean distance to the `neighbours` nearest vectors of a bank.

    Of several vectors a row, that of the valid one that is furthest off (Roth et al. 2022, equation
    6, without the weights of equation 7). 0 for a row without any.
    """
    known = jnp.asarray(bank, jnp.float32)
    squares = jnp.square(known).sum(axis=1)
    count = min(neighbours, known.shape[0])

    def of_row(row: Float[Array, "n d"]) -> Float[Array, "n"]:
        product = jnp.matmul(row, known.T, precision=jax.lax.Precision.HIGHEST)
        apart = jnp.square(row).sum(axis=1, keepdims=True) + squares - 2 * product
        best, _ = jax.lax.top_k(-apart, count)
        return jnp.sqrt(jnp.maximum(-best, 0)).mean(axis=1)

    found = jax.lax.map(of_row, vectors.astype(jnp.float32), batch_size=_ROWS_AT_ONCE)
    return jnp.where(valid, found, 0).max(axis=1)


def mahalanobis(
    vectors: Float[Array, "b n d"],
    valid: Bool[Array, "b n"],
    mean: Float[ArrayLike, "d"],
    whitening: Float[ArrayLike, "d d"],
) -> Float[Array, "b"]:
    """The Mahalanobis distance of each row's vector; of several, the largest of a valid one."""
    apart = vectors.astype(jnp.float32) - jnp.asarray(mean)
    highest = jax.lax.Precision.HIGHEST
    white = jnp.einsum("bnd,ed->bne", apart, jnp.asarray(whitening), precision=highest)
    return jnp.where(valid, jnp.sqrt(jnp.square(white).sum(axis=-1)), 0).max(axis=1)
