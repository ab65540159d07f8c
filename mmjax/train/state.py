"""What a training step carries, and where it lives."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jax.sharding import Mesh

from mmjax.core import rng
from mmjax.core.types import Batch
from mmjax.core.typing import Array
from mmjax.parallel.sharding import unbox, variable_shardings
from mmjax.train.trained import whole


@struct.dataclass
class TrainState:
    """Everything that a resume needs besides the data's position."""

    step: Array
    """Updates tried so far, int32."""
    params: Any
    collections: Any
    """The module's other variables, such as batch statistics."""
    opt_state: Any
    ema: Any
    """The averaged parameters, at least in float32, or an empty dict; None for those that are not
    trained."""
    key: Array
    """Data of the run's random key; each step's streams are folded from it and `step`."""
    skipped: Array
    """Steps left out because loss or gradients were not finite, int32."""
    skipped_in_a_row: Array

    @property
    def best_params(self) -> Any:
        """What evaluation uses: the average where one is kept."""
        if not self.ema:
            return self.params
        complete = len(jax.tree.leaves(self.ema)) == len(jax.tree.leaves(self.params))
        return self.ema if complete else whole(self.ema, self.params)

    @property
    def variables(self) -> dict[str, Any]:
        """Of the model while it trains, by collection."""
        return {"params": self.params, **self.collections}

    @property
    def best_variables(self) -> dict[str, Any]:
        """Of the model when it is evaluated, by collection."""
        return {**self.variables, "params": self.best_params}


@dataclasses.dataclass(frozen=True)
class StatePlan:
    """A state that is not made yet."""

    abstract: TrainState
    """Shapes, dtypes and shardings, as a checkpoint's restore wants them."""
    shardings: TrainState
    make: Callable[..., TrainState]
    """Makes it in place on the mesh. Parts of the parameters that `make(parts)` names are 0."""
    boxed: Any = None
    """Shapes that carry logical axis names."""


def plan_state(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    example: Batch,
    mesh: Mesh,
    *,
    seed: int,
    ema: bool | Callable[[Any], Any],
    overrides: Mapping[str, tuple[str, ...]] | None = None,
) -> StatePlan:
    """A fresh state; a run that is resumed needs its shapes only.

    `example` gives the shapes of a batch, and `overrides` are those of the mesh's config. The
    values depend on `seed` alone, not on the mesh. `ema` says whether parameters are averaged, or
    is what makes the tree of those that are.
    """

    def boxed(key: Array) -> TrainState:
        # Made in the program: a large batch as a constant of it would be held, and compiled in.
        rows = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), example)
        variables = dict(module.init({"params": rng.stream(key, "params")}, rows, train=False))
        params = variables.pop("params")
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            collections=variables,
            opt_state=optimizer.init(params),
            ema=jax.tree.map(_averaged, ema(params) if callable(ema) else params) if ema else {},
            key=jax.random.key_data(key),
            skipped=jnp.zeros((), jnp.int32),
            skipped_in_a_row=jnp.zeros((), jnp.int32),
        )

    key = jax.random.key(seed, impl=rng.IMPLEMENTATION)
    shapes = jax.eval_shape(boxed, key)
    shardings = variable_shardings(shapes, mesh, overrides)
    # The very function whose shapes were asked for: it is not traced again.
    make = jax.jit(boxed, out_shardings=shardings)

    @functools.partial(jax.jit, static_argnums=1, out_shardings=shardings)
    def make_rest(key: Array, spare: frozenset[str]) -> TrainState:
        """Without drawing what is read from elsewhere: most of the program of a large encoder."""

        def emptied(tree: Any) -> Any:
            zeros = {name: jax.tree.map(jnp.zeros_like, tree[name]) for name in spare & tree.keys()}
            return {**tree, **zeros}

        state = boxed(key)
        params, ema = emptied(state.params), emptied(state.ema)
        return dataclasses.replace(state, params=params, ema=ema)

    def made(spare: Sequence[str] = ()) -> TrainState:
        return unbox(make_rest(key, frozenset(spare)) if spare else make(key))

    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        unbox(shapes),
        shardings,
    )
    return StatePlan(abstract, shardings, made, shapes)


def begun(ema: Any, params: Any) -> Any:
    """Averages, of those that `ema` has, that begin with these parameters."""
    return jax.tree.map(
        lambda param, own: None if own is None else jnp.array(param, own.dtype), params, ema
    )


def _averaged(param: Array) -> Array:
    """The start of an average. In bfloat16 it would stand still: each step moves it too little."""
    return jnp.array(param, jnp.promote_types(param.dtype, jnp.float32), copy=True)
