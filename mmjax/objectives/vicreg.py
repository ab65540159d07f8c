"""Alignment of pairs without negatives: invariance, variance, covariance."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.nn.dense import dense
from mmjax.nn.norms import layer_norm
from mmjax.objectives.base import Context, Objective
from mmjax.objectives.pairwise import over_pairs


def vicreg_loss(
    a: Float[Array, "b d"],
    b: Float[Array, "b d"],
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    eps: float = 1e-4,
    mask: Bool[Array, "b"] | None = None,
) -> Float[Array, ""]:
    """The weighted sum of three terms (Bardes et al. 2022, equations 1 to 6).

    The mean squared difference of a pair's channels; the mean over channels of
    max(0, 1 - sqrt(variance + eps)), averaged over both sides; the squared covariances between
    different channels, summed and divided by d, of both sides added. Means and divisors are those
    of the authors' code, for which the weights were chosen: the paper adds the variance of both
    sides up, and the squares of the channels. Variances are of rows divided by b - 1. Rows where
    `mask` is False count nowhere; a pair alone has the first term only. In float32.
    """
    valid = (jnp.ones(len(a), bool) if mask is None else mask)[:, None]
    count = valid.sum().astype(jnp.float32)
    a, b = (jnp.where(valid, x.astype(jnp.float32), 0.0) for x in (a, b))
    width = a.shape[1]
    alike = jnp.sum((a - b) ** 2) / (jnp.maximum(count, 1.0) * width)
    spread = related = jnp.zeros((), jnp.float32)
    for one in (a, b):
        centred = jnp.where(valid, one - one.sum(axis=0) / jnp.maximum(count, 1.0), 0.0)
        moments = centred.T @ centred / jnp.maximum(count - 1.0, 1.0)
        variances = jnp.diagonal(moments)
        spread += 0.5 * jnp.mean(jax.nn.relu(1.0 - jnp.sqrt(variances + eps)))
        related += jnp.sum(jnp.where(jnp.eye(width, dtype=bool), 0.0, moments) ** 2) / width
    several = jnp.where(count > 1, variance * spread + covariance * related, 0.0)
    return invariance * alike + several


class VICReg(Objective, kw_only=True):
    """`vicreg_loss` of pairs of modalities, behind an expander of each, the mean over the pairs.

    The expander is `depth` layers of `width` with a norm and ReLU between, on the modality's own
    summary: vectors of unit length could not have the variance that is asked of each channel.
    """

    modalities: tuple[str, ...] = ()
    """Those that are paired; none is all of the model's."""
    width: int = 2048
    depth: int = 3
    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0

    batch_coupled: ClassVar[bool] = True

    @nn.compact
    def __call__(self, context: Context, *, train: bool) -> ObjectiveOutput:
        names = self.modalities or tuple(context.modalities)
        expanded = {name: self._expand(context, name) for name in names}

        def loss(a: str, b: str, rows: Array) -> Array:
            return vicreg_loss(
                expanded[a],
                expanded[b],
                invariance=self.invariance,
                variance=self.variance,
                covariance=self.covariance,
                mask=rows,
            )

        return over_pairs(context, names, loss)

    def _expand(self, context: Context, name: str) -> Float[Array, "b d"]:
        values = context.tokens(name).pooled
        for layer in range(self.depth):
            if layer:
                norm = layer_norm(name=f"{name}_norm_{layer - 1}", **self.types())
                values = jax.nn.relu(norm(values))
            place = f"{name}_expander_{layer}"
            values = dense(self.width, ("embed", "joined"), name=place, **self.types())(values)
        return values
