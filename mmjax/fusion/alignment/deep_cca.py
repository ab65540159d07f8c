"""The loss of deep canonical correlation analysis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.linalg

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Bool, Float


def deep_cca_loss(
    x: Float[Array, "b d"],
    y: Float[Array, "b e"],
    *,
    dimensions: int | None = None,
    ridge: float = 1e-3,
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """Minus the sum of the `dimensions` largest canonical correlations of the batch (all if None).

    Deep CCA (Andrew et al. 2013, equations 10 and 11): the singular values of
    S_xx^(-1/2) S_xy S_yy^(-1/2), covariances of rows divided by b - 1, `ridge` on the diagonals of
    S_xx and S_yy. Row i of `x` belongs to row i of `y`; rows where `mask` is False do not count. In
    float32.

    The loss couples the rows of a batch, and wants many more of them than dimensions. Its gradient
    is finite also where singular values are equal: only they are differentiated, not the vectors,
    and whitening is by Cholesky factors, which differ from the square roots by a rotation.

    Raises ConfigError for more dimensions than a view has.
    """
    most = min(x.shape[1], y.shape[1])
    if dimensions is not None and not 1 <= dimensions <= most:
        raise ConfigError(
            109,
            f"dimensions={dimensions} of views with {x.shape[1]} and {y.shape[1]} channels",
            fix=f"dimensions={most}",
        )
    valid = jnp.ones(x.shape[0], bool) if mask is None else mask
    x, y = _centred(x, valid), _centred(y, valid)
    divisor = jnp.maximum(valid.sum() - 1, 1).astype(jnp.float32)
    left = jnp.linalg.cholesky(x.T @ x / divisor + ridge * jnp.eye(x.shape[1]))
    right = jnp.linalg.cholesky(y.T @ y / divisor + ridge * jnp.eye(y.shape[1]))
    cross = jax.scipy.linalg.solve_triangular(left, x.T @ y / divisor, lower=True)
    whitened = jax.scipy.linalg.solve_triangular(right, cross.T, lower=True)
    return -jnp.linalg.svd(whitened, compute_uv=False)[:dimensions].sum()


def _centred(values: Float[Array, "b d"], valid: Bool[Array, "b"]) -> Float[Array, "b d"]:
    """In float32, zeros in the rows that do not count."""
    values = jnp.where(valid[:, None], values.astype(jnp.float32), 0.0)
    mean = values.sum(axis=0) / jnp.maximum(valid.sum(), 1)
    return jnp.where(valid[:, None], values - mean, 0.0)
