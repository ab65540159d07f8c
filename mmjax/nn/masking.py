"""Some of a row's tokens chosen at random, taken out, and put back to their places."""

from __future__ import annotations

import jax.numpy as jnp
from flax import struct

from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int, Shaped


@struct.dataclass
class Masking:
    """Which of `n` tokens stay, the same number in each row, and where they were."""

    keep: Int[Array, "b m"]
    """The places of those that stay, in the order of their noise."""
    restore: Int[Array, "b n"]
    """Of each place, where its token is once the hidden ones follow those that stay."""

    @property
    def hidden(self) -> Bool[Array, "b n"]:
        """Of each place, whether its token does not stay."""
        return self.restore >= self.keep.shape[1]


def random_masking(noise: Float[ArrayLike, "b n"], keep: int) -> Masking:
    """The `keep` tokens of the lowest noise stay: a random permutation, cut (He et al. 2022).

    As `random_masking` of MAE's release, `ids_keep` and `ids_restore`; equal noise keeps its order.
    """
    shuffle = jnp.argsort(jnp.asarray(noise), axis=1, stable=True)
    return Masking(shuffle[:, :keep], jnp.argsort(shuffle, axis=1))


def keep_tokens(
    values: Shaped[Array, "b n *d"], keep: Int[ArrayLike, "b m"], *, extra: int = 0
) -> Shaped[Array, "b _ *d"]:
    """The tokens at the places `keep`, which count from behind `extra` ones that all stay."""
    places = jnp.asarray(keep)
    places = places.reshape(*places.shape, *[1] * (values.ndim - 2))
    kept = jnp.take_along_axis(values[:, extra:], places, axis=1)
    return jnp.concatenate([values[:, :extra], kept], axis=1) if extra else kept


def restore_tokens(
    kept: Float[Array, "b m d"],
    restore: Int[ArrayLike, "b n"],
    stand_in: Float[Array, "d"],
    *,
    extra: int = 0,
) -> Float[Array, "b _ d"]:
    """The tokens that were kept at their places again, `stand_in` where one was hidden.

    The first `extra` tokens stay first.
    """
    hidden = jnp.shape(restore)[1] - (kept.shape[1] - extra)
    rest = jnp.broadcast_to(stand_in, (kept.shape[0], hidden, kept.shape[2]))
    whole = jnp.concatenate([kept, rest.astype(kept.dtype)], axis=1)
    return keep_tokens(whole, restore, extra=extra)
