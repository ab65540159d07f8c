"""What decoding keeps from one step to the next: keys and values of the tokens so far.

Modules keep it in the collection `cache`, and only where that is mutable:

    decoded, kept = module.apply(variables, tokens, ..., mutable=["cache"])
    decoded, kept = module.apply({**variables, **kept}, more, ..., mutable=["cache"])

A cache has a fixed number of slots, the length of the mask that the first step is called with.
Each step fills the next ones, the same for all rows. Arrays with four axes or more have one for the
rows, the fourth from the end; a stack that is scanned has its layers before it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.kernels.platforms import platform_dependent

COLLECTION = "cache"
_CONTEXT = "context"


def caching(module: nn.Module) -> bool:
    """Whether a module keeps what the next step needs."""
    return module.is_mutable_collection(COLLECTION) and not module.is_initializing()


def advance(module: nn.Module, count: int) -> Int[Array, ""]:
    """The first of `count` free slots, which are taken from now on."""
    slot = module.variable(COLLECTION, "slot", jnp.zeros, (), jnp.int32)
    first = slot.value
    slot.value = first + count
    return first


def remember(
    module: nn.Module,
    keys: Float[Array, "b n k h"],
    values: Float[Array, "b n k h"],
    mask: Bool[Array, "#b #k n m"],
    bias: Float[Array, "#b _ #n m"] | None,
) -> tuple[Array, Array, Array, Array | None]:
    """Keys and values of all slots after those of this step are put in, mask and bias as they are.

    At the first step nothing is before it: what is returned ends with its last slot.
    """
    count, slots = keys.shape[1], mask.shape[-1]
    empty = not module.has_variable(COLLECTION, "keys")
    first = advance(module, count)

    def kept(name: str, new: Array) -> Array:
        # Heads first, as attention on a CPU wants them: slots are not moved at each step.
        new = jnp.swapaxes(new, 1, 2)
        shape = (*new.shape[:2], slots, new.shape[3])
        whole = module.variable(COLLECTION, name, jnp.zeros, shape, new.dtype)
        whole.value = _written(whole.value, new, first)
        return jnp.swapaxes(whole.value, 1, 2)

    all_keys, all_values = kept("keys", keys), kept("values", values)
    if empty:
        return keys, values, mask[..., :count], None if bias is None else bias[..., :count]
    return all_keys, all_values, mask, bias


def _written(
    whole: Float[Array, "b k s h"], new: Float[Array, "b k n h"], first: Int[Array, ""]
) -> Float[Array, "b k s h"]:
    """`whole` with `new` in the slots from `first` on.

    Left to itself, XLA for CPUs (jaxlib 0.10.2) writes a token once for what is kept and once for
    the product that reads it, and copies the whole four times for that. It does not look into a
    loop.
    """

    def put(at: Array, kept: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(kept, new, at, axis=2)

    if new.shape[2] > 1:
        return put(first, whole)
    in_place = functools.partial(jax.lax.fori_loop, body_fun=put)
    return platform_dependent(
        whole,
        first,
        cpu=lambda kept, at: in_place(at, at + 1, init_val=kept),
        default=lambda kept, at: put(at, kept),
    )


def once(module: nn.Module, make: Callable[[], Any]) -> Any:
    """What `make` returned at the first step: keys and values of a context `b m k h`."""

    def heads_first() -> Any:
        return jax.tree.map(lambda one: jnp.swapaxes(one, 1, 2), make())

    found = module.variable(COLLECTION, _CONTEXT, heads_first).value
    return jax.tree.map(lambda one: jnp.swapaxes(one, 1, 2), found)


def mask_of_step(mask: Bool[Array, "b m"], count: int) -> Bool[Array, "b n"]:
    """A mask for the `count` tokens of a step in place of that of all slots."""
    return jnp.ones((mask.shape[0], count), bool)


def take_rows(cache: Any, rows: Int[ArrayLike, "b"], *, of_context: bool = True) -> Any:
    """The cache of other rows; without `of_context`, what is kept of a context stays as it is."""

    def one(path: Any, leaf: Array) -> Array:
        if leaf.ndim < 4 or (not of_context and _in_context(path)):
            return leaf
        return jnp.take(leaf, jnp.asarray(rows), axis=leaf.ndim - 4, mode="clip")

    return jax.tree_util.tree_map_with_path(one, cache)


def _in_context(path: Any) -> bool:
    return any(getattr(part, "key", None) == _CONTEXT for part in path)
