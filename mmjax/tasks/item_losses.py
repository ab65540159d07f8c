"""Losses of recommenders: one number for each chosen item, in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float, Int

_NEVER = -1e30


def bpr(
    chosen: Float[Array, "r"], others: Float[Array, "r k"], valid: Bool[Array, "r k"]
) -> Float[Array, "r"]:
    """-log sigmoid(score of what was chosen - of what was not), the mean over the valid others.

    Rendle et al. 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback", section 4.1.
    """
    losses = jnp.where(valid, jax.nn.softplus(others - chosen[:, None]), 0.0)
    return losses.sum(axis=1) / jnp.maximum(valid.sum(axis=1), 1)


def pointwise(
    chosen: Float[Array, "r"], others: Float[Array, "r k"], valid: Bool[Array, "r k"]
) -> Float[Array, "r"]:
    """Binary cross-entropy of what was chosen as yes, and of each of the valid others as no.

    Their sum, as in He et al. 2017 and in SASRec's equation 6.
    """
    noes = jnp.where(valid, jax.nn.softplus(others), 0.0).sum(axis=1)
    return jax.nn.softplus(-chosen) + noes


def in_batch_softmax(
    logits: Float[Array, "r r"],
    items: Int[Array, "r"],
    log_q: Float[Array, "r"],
    valid: Bool[Array, "r"],
    known: Bool[Array, "r r"] | None = None,
) -> Float[Array, "r"]:
    """Cross-entropy of each row's own item among those of all valid rows, corrected by log q.

    `log_q[j]` is how often the item of row j is in a batch at its place; without its subtraction
    what is popular is punished for being a negative often (Yi et al. 2019, "Sampling-Bias-Corrected
    Neural Modeling for Large Corpus Item Recommendations", equation 3). The same item in another
    row is no negative, nor is what `known` marks.
    """
    corrected = logits.astype(jnp.float32) - log_q[None]
    own = jnp.eye(len(items), dtype=bool)
    other = (items[:, None] != items[None]) & valid[None]
    if known is not None:
        other &= ~known
    shown = jnp.where(own | other, corrected, _NEVER)
    return jax.nn.logsumexp(shown, axis=1) - jnp.diagonal(corrected)


def full_softmax(
    logits: Float[Array, "r n"], items: Int[Array, "r"], hidden: Bool[Array, "r n"] | None = None
) -> Float[Array, "r"]:
    """Cross-entropy of each row's item among all items of the catalogue that are not hidden."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, items[:, None], axis=1)[:, 0]
    if hidden is not None:
        own = jnp.arange(logits.shape[1])[None] == items[:, None]
        logits = jnp.where(hidden & ~own, _NEVER, logits)
    return jax.nn.logsumexp(logits, axis=1) - chosen
