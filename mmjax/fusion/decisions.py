"""Decisions of several heads as one: pure functions, for tasks that fuse late.

`log_p` are log-probabilities `[modality b ... c]`, one slice a head, `present` says which rows have
the modality. An absent modality changes nothing, not one bit, whatever its slice holds; a row
without any gets the uniform distribution (or 0), and gives no gradient. All is in float32.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float

_LEAST = 1e-30
"""The smallest probability that has a logarithm here."""


def across(per_row: Array, like: Array) -> Array:
    """`[b modality]` as `[modality b 1 ...]`, to go with `like` `[modality b ...]`."""
    return per_row.T.reshape(*like.shape[:2], *[1] * (like.ndim - 2))


def shares(
    weights: Float[Array, "modality"] | Float[Array, "b modality"],
    present: Bool[Array, "b modality"],
) -> Float[Array, "b modality"]:
    """Weights of the present modalities divided by their sum; 0 where there are none."""
    applied = jnp.where(present, jnp.broadcast_to(weights, present.shape), 0.0)
    total = applied.sum(axis=1, keepdims=True)
    return jnp.where(total > 0, applied / jnp.where(total > 0, total, 1.0), 0.0)


def equal_shares(present: Bool[Array, "b modality"]) -> Float[Array, "b modality"]:
    """One over the number of present modalities, 0 for the absent ones."""
    return shares(jnp.ones(present.shape[1], jnp.float32), present)


def mixture(
    log_p: Float[Array, "modality b *d c"], weights: Float[Array, "b modality"]
) -> Float[Array, "b *d c"]:
    """log sum_m w_m p_m, for weights that are positive and add up to 1, or are all 0."""
    given = across(weights, log_p)
    counted = given > 0
    some = counted.any(axis=0)
    # The largest term of each class is taken out, so that no exponential is 0 where it matters.
    largest = jax.lax.stop_gradient(jnp.max(jnp.where(counted, log_p, -jnp.inf), axis=0))
    largest = jnp.where(some, largest, 0.0)
    relative = jnp.where(counted, log_p - largest, 0.0)
    total = jnp.sum(jnp.where(counted, given * jnp.exp(relative), 0.0), axis=0)
    return jnp.where(some, jnp.log(jnp.where(some, total, 1.0)) + largest, _uniform(log_p))


def average(
    log_p: Float[Array, "modality b *d c"], present: Bool[Array, "b modality"]
) -> Float[Array, "b *d c"]:
    """The logarithm of the mean probability (the sum rule, Kittler et al. 1998)."""
    return mixture(log_p, equal_shares(present))


def weighted_values(
    values: Float[Array, "modality b *d"], weights: Float[Array, "b modality"]
) -> Float[Array, "b *d"]:
    """sum_m w_m x_m of plain numbers; a modality of weight 0 may hold anything."""
    given = across(weights, values)
    return jnp.sum(jnp.where(given != 0, given * values, 0.0), axis=0)


def product_of_experts(
    log_p: Float[Array, "modality b *d c"],
    present: Bool[Array, "b modality"],
    log_prior: Float[Array, "c"] | None = None,
) -> Float[Array, "b *d c"]:
    """prod_m p_m, renormalised (Hinton 2002).

    With `log_prior`, the product is divided by the prior once for each modality but one: Bayes'
    rule for modalities that are independent given the class, whose heads each know the prior. A row
    without any modality then gets the prior.
    """
    total = jnp.sum(jnp.where(across(present, log_p), log_p, 0.0), axis=0)
    if log_prior is not None:
        count = present.sum(axis=1).reshape(-1, *[1] * (total.ndim - 1))
        total = total - (count - 1) * log_prior
    return jax.nn.log_softmax(total)


def majority_vote(
    log_p: Float[Array, "modality b *d c"], present: Bool[Array, "b modality"]
) -> Float[Array, "b *d c"]:
    """log((votes + mean probability) / (voters + 1)); a vote is a head's likeliest class.

    The class with most votes has the highest, among equals the one with the higher mean
    probability, then the lower index. Votes have no gradient, the mean probability has.
    """
    votes = jax.nn.one_hot(jnp.argmax(log_p, axis=-1), log_p.shape[-1], dtype=jnp.float32)
    votes = jnp.sum(jnp.where(across(present, votes), votes, 0.0), axis=0)
    voters = present.sum(axis=1).reshape(-1, *[1] * (votes.ndim - 1))
    found = (votes + jnp.exp(average(log_p, present))) / (voters + 1)
    return jnp.log(jnp.maximum(found, _LEAST))


def opinion(
    logits: Float[Array, "*b c"],
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Belief in each class and uncertainty, adding up to 1 (subjective logic, Jøsang 2016).

    Evidence is softplus of the logits, and evidence + 1 a Dirichlet distribution's parameters
    (Sensoy et al. 2018, equation 1).
    """
    evidence = jax.nn.softplus(logits)
    strength = evidence.sum(axis=-1) + logits.shape[-1]
    return evidence / strength[..., None], logits.shape[-1] / strength


def expected_probability(
    belief: Float[Array, "*b c"], uncertainty: Float[Array, "*b"]
) -> Float[Array, "*b c"]:
    """log of the Dirichlet's mean: belief plus an equal part of the uncertainty."""
    return jnp.log(jnp.maximum(belief + uncertainty[..., None] / belief.shape[-1], _LEAST))


def dempster_shafer(
    logits: Float[Array, "modality b *d c"], present: Bool[Array, "b modality"]
) -> tuple[Float[Array, "b *d c"], Float[Array, "b *d"]]:
    """Log-probabilities and uncertainty of the combined opinions.

    Two opinions become one by the reduced rule of Dempster, and so on (Trusted Multi-View
    Classification, Han et al. 2021, definition 4). An absent modality has the vacuous opinion, no
    belief and an uncertainty of 1.
    """
    beliefs, doubts = opinion(logits)
    here = across(present, doubts)
    beliefs = jnp.where(here[..., None], beliefs, 0.0)
    doubts = jnp.where(here, doubts, 1.0)
    belief, doubt, seen = beliefs[0], doubts[0], here[0]
    for other, its_doubt, its_here in zip(beliefs[1:], doubts[1:], here[1:], strict=True):
        both = belief * other + belief * its_doubt[..., None] + other * doubt[..., None]
        neither = doubt * its_doubt
        # What is left of 1 without the conflict, as a sum: a difference would cancel to 0.
        left = both.sum(axis=-1) + neither
        # The vacuous opinion leaves the other as it is, also in the last bit.
        alone, met = its_here & ~seen, its_here & seen
        belief = jnp.where(alone[..., None], other, belief)
        belief = jnp.where(met[..., None], both / left[..., None], belief)
        doubt = jnp.where(met, neither / left, jnp.where(alone, its_doubt, doubt))
        seen = seen | its_here
    return expected_probability(belief, doubt), doubt


def stacking_features(
    log_p: Float[Array, "modality b *d c"],
    present: Bool[Array, "b modality"],
    *,
    stopped: bool = True,
) -> Float[Array, "b *d f"]:
    """What a meta-learner sees (Wolpert 1992): log-probabilities, and which modalities are there.

    Where they are `stopped`, as in training, nothing flows back: a head learns from its own loss.
    """
    known = jnp.where(across(present, log_p), log_p, 0.0)
    known = jax.lax.stop_gradient(known) if stopped else known
    flags = jnp.broadcast_to(across(present, log_p), (*log_p.shape[:-1], 1)).astype(log_p.dtype)
    return jnp.concatenate([*known, *flags], axis=-1)


def _uniform(log_p: Float[Array, "modality b *d c"]) -> float:
    return -math.log(log_p.shape[-1])
