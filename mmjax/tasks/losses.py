"""Losses of logits, one number a row or a cell, in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Bool, Float, Int

_LEAST = 1e-7
"""Below this a probability has no power of its own, whose gradient would be infinite."""


def cross_entropy(
    logits: Float[Array, "b v"],
    labels: Int[Array, "b"],
    *,
    label_smoothing: float,
    gamma: float = 0.0,
) -> Float[Array, "b"]:
    """Cross-entropy; smoothing mixes in the uniform one (Szegedy et al. 2016).

    With `gamma`, the focal loss: the term of each class times (1 - p)^gamma (Lin et al. 2017,
    equation 4).
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    terms = log_p
    if gamma:
        terms = jnp.maximum(-jnp.expm1(log_p), _LEAST) ** gamma * log_p
    chosen = jnp.take_along_axis(terms, labels[:, None], axis=-1)[:, 0]
    return -(1.0 - label_smoothing) * chosen - label_smoothing * terms.mean(axis=-1)


def binary_cross_entropy(
    logits: Float[Array, "b v"],
    labels: Bool[Array, "b v"],
    *,
    label_smoothing: float = 0.0,
    pos_weight: Float[Array, "v"] | None = None,
) -> Float[Array, "b v"]:
    """Of each label; smoothing draws yes and no to one half, `pos_weight` multiplies the yes."""
    logits, truth = _smoothed(logits, labels, label_smoothing)
    weight = 1.0 if pos_weight is None else pos_weight
    return weight * truth * jax.nn.softplus(-logits) + (1 - truth) * jax.nn.softplus(logits)


def binary_focal(
    logits: Float[Array, "b v"],
    labels: Bool[Array, "b v"],
    *,
    gamma: float,
    alpha: float | None = None,
    label_smoothing: float = 0.0,
) -> Float[Array, "b v"]:
    """Lin et al. 2017, equation 5: (1 - p)^gamma times cross-entropy, p that of what is true.

    With `alpha`, that times what is yes and 1 - alpha times what is no.
    """
    logits, truth = _smoothed(logits, labels, label_smoothing)
    yes = jnp.maximum(jax.nn.sigmoid(-logits), _LEAST) ** gamma * jax.nn.softplus(-logits)
    no = jnp.maximum(jax.nn.sigmoid(logits), _LEAST) ** gamma * jax.nn.softplus(logits)
    if alpha is not None:
        yes, no = alpha * yes, (1 - alpha) * no
    return truth * yes + (1 - truth) * no


def asymmetric(
    logits: Float[Array, "b v"],
    labels: Bool[Array, "b v"],
    *,
    gammas: tuple[float, float],
    margin: float,
    label_smoothing: float = 0.0,
) -> Float[Array, "b v"]:
    """Ridnik et al. 2021, equations 4 to 7: a focus of its own for yes and for no.

    -(1 - p)^gammas[0] log p of a label that is there, and -q^gammas[1] log(1 - q) with
    q = max(p - margin, 0) of one that is not, so that clear noes cost nothing.
    """
    logits, truth = _smoothed(logits, labels, label_smoothing)
    p = jax.nn.sigmoid(logits)
    yes = jax.nn.softplus(-logits)
    if gammas[0]:
        yes = jnp.maximum(1 - p, _LEAST) ** gammas[0] * yes
    shifted = jnp.maximum(p - margin, 0.0)
    no = -jnp.log1p(-shifted) if margin > 0 else jax.nn.softplus(logits)
    if gammas[1]:
        no = jnp.where(shifted > 0, jnp.maximum(shifted, _LEAST) ** gammas[1] * no, 0.0)
    return truth * yes + (1 - truth) * no


def _smoothed(logits: Array, labels: Array, smoothing: float) -> tuple[Array, Array]:
    truth = labels.astype(jnp.float32)
    return logits.astype(jnp.float32), truth * (1 - smoothing) + smoothing / 2


def balanced_weights(counts: tuple[int, ...]) -> np.ndarray:
    """n / (classes x count), as scikit-learn's."""
    present = np.maximum(np.asarray(counts, np.float64), 1.0)
    return present.sum() / (len(counts) * present)


def effective_weights(counts: tuple[int, ...], beta: float) -> np.ndarray:
    """(1 - beta) / (1 - beta^count), brought to a mean of 1 (Cui et al. 2019, equation 3)."""
    if not 0 <= beta < 1:
        raise ConfigError(
            109, f"beta = {beta}", where="task.beta", fix="from 0 to below 1, such as 0.999"
        )
    present = np.maximum(np.asarray(counts, np.float64), 1.0)
    weights = (1 - beta) / (1 - beta**present)
    return weights / weights.mean()


def require(name: str, holds: bool, value: object, expected: str) -> None:
    """Raises ConfigError for a setting of a task that makes no sense."""
    if not holds:
        raise ConfigError(
            109, f"{name} = {value}", where=f"task.{name}", fix=f"expected {expected}"
        )
