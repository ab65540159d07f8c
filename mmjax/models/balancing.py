"""How the modality that is learnt first is held back: on-the-fly gradient modulation (OGM)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float
from mmjax.tasks.base import OutputKind

SUMS = "gradient_balance/"
"""Before the names of what `sums_of` adds to a model's sums."""
_TIMES = f"{SUMS}times"


@jax.custom_vjp
def scaled_gradient(values: Any, share: Float[Array, ""]) -> Any:
    """The tree as it is; what flows back into its arrays is multiplied by `share`."""
    return values


def _forward(values: Any, share: Array) -> tuple[Any, Array]:
    return values, share


def _backward(share: Array, cotangents: Any) -> tuple[Any, Array]:
    def scaled(one: Any) -> Any:
        # Of masks and other whole numbers nothing flows back.
        return one if one.dtype == jax.dtypes.float0 else one * share.astype(one.dtype)

    return jax.tree.map(scaled, cotangents), jnp.zeros_like(share)


scaled_gradient.defvjp(_forward, _backward)


def modulation(scores: Float[Array, "modality"], strength: float) -> Float[Array, "modality"]:
    """What the gradient of each modality's encoder is multiplied by (Peng et al. 2022, OGM).

    1 - tanh(strength * ratio) where the ratio of a modality's score to the mean of the others' is
    above 1, else 1. Scores are what each modality alone says of the truth, as `right_share`.
    """
    others = (scores.sum() - scores) / max(len(scores) - 1, 1)
    ratio = scores / jnp.maximum(others, 1e-9)
    return jnp.where(ratio > 1.0, 1.0 - jnp.tanh(strength * ratio), 1.0)


def right_share(
    probabilities: Float[Array, "b c"],
    truth: Float[Array, "b c"],
    rows: Bool[Array, "b"],
    kind: OutputKind,
) -> Float[Array, ""]:
    """The mean over `rows` of the probability of the truth; of labels, also of the mean of them."""
    if kind == "labels":
        right = jnp.where(truth > 0.5, probabilities, 1.0 - probabilities).mean(axis=-1)
    else:
        right = jnp.sum(probabilities * truth, axis=-1)
    return jnp.sum(jnp.where(rows, right, 0.0)) / jnp.maximum(rows.sum(), 1)


def sums_of(shares: Mapping[str, Float[Array, ""]]) -> dict[str, Array]:
    """The shares of modalities as sums over batches, with how many there were."""
    one = jnp.ones((), jnp.float32)
    return {**{SUMS + name: share for name, share in shares.items()}, _TIMES: one}


def parted(sums: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """The task's own sums, and the mean share of each modality, `gradient_balance/text`."""
    own = {name: one for name, one in sums.items() if not name.startswith(SUMS)}
    shares = {
        name: one / sums[_TIMES]
        for name, one in sums.items()
        if name.startswith(SUMS) and name != _TIMES
    }
    return own, shares
