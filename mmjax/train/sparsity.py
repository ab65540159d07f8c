"""L1 regularisation: weights that end at 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mmjax.core.typing import Array


@struct.dataclass
class Shrinking:
    """The updates so far, which say where the schedule is."""

    count: Array


def shrink(
    schedule: optax.Schedule, strengths: Callable[[Any], Any]
) -> optax.GradientTransformation:
    """Behind the step of any rule, its proximal one for an L1 penalty (Beck and Teboulle 2009).

    A weight w that would be v is sign(v) max(|v| - rate * strength, 0): decoupled from the rule's
    own scaling as AdamW's decay is, and exactly 0 where it is not needed. `strengths` makes the
    tree of numbers that belongs to a tree of parameters.
    """

    def update(updates: Any, state: Shrinking, params: Any = None) -> tuple[Any, Shrinking]:
        rate = schedule(state.count)

        def one(step: Array, own: Array, strength: float) -> Array:
            there = own + step
            size = jnp.maximum(jnp.abs(there) - jnp.asarray(rate * strength, there.dtype), 0)
            return jnp.sign(there) * size - own if strength else step

        return jax.tree.map(one, updates, params, strengths(params)), Shrinking(state.count + 1)

    return optax.GradientTransformation(lambda params: Shrinking(jnp.zeros((), jnp.int32)), update)
