"""Optimal transport between two sets of tokens, with entropic regularisation."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from mmjax.core.errors import ConfigError
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, Bool, Float
from mmjax.encoders.dual_tower import unit_length

_NOTHING = -1e30


@struct.dataclass
class TokenAlignment:
    """How much of each token of the first set goes to each of the second.

    A row's `plan` sums to 1, its `cost` is the mean cost of what is moved; both are 0 where a set
    is empty.
    """

    plan: Float[Array, "b n m"]
    cost: Float[Array, "b"]


def align_tokens(
    a: Tokens,
    b: Tokens,
    *,
    cost: Literal["cosine", "squared"] = "cosine",
    epsilon: float = 0.1,
    iterations: int = 50,
) -> TokenAlignment:
    """The transport between the valid tokens of two modalities, each of equal weight in its row.

    The cost of a pair is 1 - cosine, as for the words and regions of UNITER (Chen et al. 2020,
    section 3.3), or the squared distance. Padding is never moved, and neither it nor an absent
    modality gets a gradient. Differentiable through all iterations, in float32.

    Raises ConfigError for tokens of different widths.
    """
    if a.values.shape[-1] != b.values.shape[-1]:
        raise ConfigError(
            109,
            f"tokens of the widths {a.values.shape[-1]} and {b.values.shape[-1]} have no distance",
            fix="project both to one width, as a fusion does",
        )
    pairs = a.mask[:, :, None] & b.mask[:, None, :]
    costs = jnp.where(pairs, _costs(_valid(a), _valid(b), cost), 0.0)
    plan = sinkhorn(
        costs,
        _equal_weights(a.mask),
        _equal_weights(b.mask),
        epsilon=epsilon,
        iterations=iterations,
    )
    return TokenAlignment(plan, jnp.sum(plan * costs, axis=(1, 2)))


def sinkhorn(
    cost: Float[Array, "*rows n m"],
    a: Float[Array, "*rows n"],
    b: Float[Array, "*rows m"],
    *,
    epsilon: float = 0.1,
    iterations: int = 50,
) -> Float[Array, "*rows n m"]:
    """The plan P of least sum(P * cost) - epsilon * entropy(P) with the marginals `a` and `b`.

    Sinkhorn's algorithm (Cuturi 2013) on logarithms (Peyre and Cuturi 2019, section 4.4), so a
    small `epsilon` does not underflow; it then needs more `iterations`. `a` and `b` are at least 0
    and have the same sum in each row. What has weight 0 is left out, whatever its cost. The
    marginal `b` is met exactly, `a` as far as the iterations go. In float32.

    Raises ConfigError for an `epsilon` that is not positive, or no iteration.
    """
    if not (epsilon > 0 and iterations >= 1):
        raise ConfigError(
            109,
            f"sinkhorn with epsilon={epsilon} and iterations={iterations}",
            fix="epsilon above 0, iterations=1 or more",
        )
    used = (a > 0)[..., :, None] & (b > 0)[..., None, :]
    kernel = jnp.where(used, -cost.astype(jnp.float32) / epsilon, _NOTHING)
    of_a, of_b = used.any(axis=-1), used.any(axis=-2)

    def potentials(column: Array) -> tuple[Array, Array]:
        row = _potential(kernel + column[..., None, :], a, of_a)
        return row, _potential(jnp.swapaxes(kernel, -1, -2) + row[..., None, :], b, of_b)

    column, _ = jax.lax.scan(
        lambda column, _: (potentials(column)[1], None),
        jnp.zeros(b.shape, jnp.float32),
        length=iterations - 1,
    )
    row, column = potentials(column)
    return jnp.where(used, jnp.exp(kernel + row[..., :, None] + column[..., None, :]), 0.0)


def _potential(
    logits: Float[Array, "*rows n m"],
    weights: Float[Array, "*rows n"],
    used: Bool[Array, "*rows n"],
) -> Float[Array, "*rows n"]:
    """What brings the sums over m to `weights`; 0 where there are none."""
    logs = jnp.log(jnp.where(used, weights.astype(jnp.float32), 1.0))
    return jnp.where(used, logs - jax.nn.logsumexp(logits, axis=-1), 0.0)


def _equal_weights(mask: Bool[Array, "b n"]) -> Float[Array, "b n"]:
    return mask / jnp.maximum(mask.sum(axis=1, keepdims=True), 1).astype(jnp.float32)


def _valid(tokens: Tokens) -> Float[Array, "b n d"]:
    return jnp.where(tokens.mask[..., None], tokens.values, 0).astype(jnp.float32)


def _costs(a: Float[Array, "b n d"], b: Float[Array, "b m d"], how: str) -> Float[Array, "b n m"]:
    if how == "cosine":
        a, b = (unit_length(one.reshape(-1, one.shape[-1])).reshape(one.shape) for one in (a, b))
        return 1.0 - jnp.einsum("bnd,bmd->bnm", a, b)
    squares = jnp.sum(a**2, axis=-1)[:, :, None] + jnp.sum(b**2, axis=-1)[:, None, :]
    return jnp.maximum(squares - 2.0 * jnp.einsum("bnd,bmd->bnm", a, b), 0.0)
