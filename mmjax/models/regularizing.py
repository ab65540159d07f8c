"""What training does to a batch and its loss so that predictions are smooth: R-Drop and mixup."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mmjax.core.types import Batch, Tokens
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.tasks.base import OutputKind, class_logits


@struct.dataclass
class Mix:
    """Each row is mixed with another: that much of itself, the rest of its partner."""

    partner: Int[Array, "b"]
    share: Float[Array, ""]


def draw_mix(key: Array, counts: Bool[Array, "b"], alpha: float) -> Mix:
    """Partners by a permutation of the rows that count, others by themselves, and a share for all.

    The share is drawn from Beta(alpha, alpha), one for the batch as in the reference code of mixup
    (Zhang et al. 2018). It and its complement give the same mixtures by the inverse permutation, so
    the larger one is taken, and a row is told to be right by the label that it has most of.
    """
    of_rows, of_share = jax.random.split(key)
    chances = jnp.where(counts, jax.random.uniform(of_rows, counts.shape), 2.0)
    # Rows that count come first in both, by place and by chance.
    places, drawn = jnp.argsort(~counts, stable=True), jnp.argsort(chances, stable=True)
    share = jax.random.beta(of_share, alpha, alpha)
    partner = jnp.zeros_like(places).at[places].set(drawn)
    return Mix(partner, jnp.maximum(share, 1.0 - share))


def mix_tokens(tokens: Mapping[str, Tokens], mix: Mix) -> dict[str, Tokens]:
    """s x + (1 - s) y of every modality's tokens, place by place, and of `pooled`.

    A token is valid where one of both rows has it; what the other lacks counts as 0, as the padding
    of sentences in Guo et al. 2019.
    """

    def mixed(one: Tokens) -> Tokens:
        values = jnp.where(one.mask[..., None], one.values, 0)
        return Tokens(
            _between(values, mix), one.mask | one.mask[mix.partner], _between(one.pooled, mix)
        )

    return {name: mixed(one) for name, one in tokens.items()}


def _between(values: Array, mix: Mix) -> Array:
    share = mix.share.astype(values.dtype)
    return share * values + (1 - share) * values[mix.partner]


def with_targets_of(batch: Batch, mix: Mix) -> Batch:
    """The batch with the targets of the rows' partners."""
    targets = {name: jnp.asarray(one)[mix.partner] for name, one in batch.targets.items()}
    return dataclasses.replace(batch, targets=targets)


def twice(tree: Any) -> Any:
    """Every row of every array twice, one after the other, so that both lie on one device."""
    return jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x), 2, axis=0), tree)


def mix_twice(mix: Mix) -> Mix:
    """That of `twice` the rows: first ones with first ones, second ones with second ones."""
    partner = 2 * mix.partner[:, None] + jnp.arange(2)
    return Mix(partner.reshape(-1), mix.share)


def symmetric_kl(
    first: Float[Array, "b ..."], second: Float[Array, "b ..."], kind: OutputKind
) -> Float[Array, "b"]:
    """(KL(p, q) + KL(q, p)) / 2 of what two outputs say of each row, float32.

    Of labels, the mean over them of that of yes and no.
    """
    log_p, log_q = (
        jax.nn.log_softmax(class_logits(one.astype(jnp.float32), kind)) for one in (first, second)
    )
    apart = jnp.sum((jnp.exp(log_p) - jnp.exp(log_q)) * (log_p - log_q), axis=-1) / 2
    return apart.reshape(len(apart), -1).mean(axis=1)
