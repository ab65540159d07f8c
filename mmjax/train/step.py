"""The compiled training step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from mmjax.core import rng
from mmjax.core.types import Batch, TaskOutput
from mmjax.models.balancing import parted
from mmjax.parallel.mesh import traced_on
from mmjax.parallel.sharding import batch_sharding, replicated
from mmjax.train.accumulate import make_gradients
from mmjax.train.optim import global_norm
from mmjax.train.state import TrainState
from mmjax.train.trained import trained, whole


class Step(Protocol):
    """A compiled step, as `jax.jit` returns it."""

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]: ...

    def lower(self, state: TrainState, batch: Batch) -> Any: ...


def make_step(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    mesh: Mesh,
    shardings: TrainState,
    *,
    accumulate: int = 1,
    ema_decay: float = 0.0,
    average_from: int | None = None,
    frozen: Any = None,
    total_steps: int = 1,
    watch: Callable[[Any], dict[str, Any]] = lambda opt_state: {},
) -> Step:
    """`step(state, batch) -> (state, values)`: loss, gradients, clipping, update, average.

    Compiled once per batch shape; the state is donated. `values` are the loss and gradient norm,
    whether the step was skipped, the task's sums, and what is watched: what `watch` reads of the
    optimiser's state, and how much of its gradient each balanced modality was given.
    A step whose loss or gradients are not finite leaves parameters, optimiser and average as they
    were, bit for bit, and is counted.

    `accumulate`, `frozen` and `total_steps` are those of `make_gradients`. What is frozen is given
    to the optimiser no more than to the gradient, which is told `grad_fn(params, index)`, the
    gradient of the same batch elsewhere. With `average_from`, `ema` is not an exponential average
    but the mean of the parameters after so many updates and each later one (Izmailov et al. 2018);
    before, the parameters themselves.
    """

    averages_any = bool(ema_decay) or average_from is not None
    gradients = make_gradients(
        module, mesh, accumulate=accumulate, frozen=frozen, total_steps=total_steps
    )

    def average(state: TrainState, params: Any) -> Any:
        if not averages_any:
            return state.ema
        if average_from is None:
            # A young average forgets its random start faster.
            share = 1.0 - jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        else:
            seen = state.step - state.skipped + 1 - average_from
            share = 1.0 / jnp.maximum(seen + 1, 1).astype(jnp.float32)
        return jax.tree.map(
            lambda a, p: a + (p - a) * share.astype(a.dtype),
            averages(state),
            params,
        )

    def averages(state: TrainState) -> Any:
        return trained(state.ema, frozen) if averages_any else state.ema

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.wrap_key_data(state.key, impl=rng.IMPLEMENTATION)
        placed = trained(shardings.params, frozen)
        grads, loss, every, collections = gradients(state, batch, key)
        sums, shares = parted(every)
        grads = jax.lax.with_sharding_constraint(grads, placed)
        moving = trained(state.params, frozen)
        norm = global_norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)

        def elsewhere(params: Any, _: int) -> Any:
            there = dataclasses.replace(state, params=whole(params, state.params))
            return jax.lax.with_sharding_constraint(gradients(there, batch, key)[0], placed)

        def update() -> tuple[Any, ...]:
            told = optax.with_extra_args_support(optimizer)
            more = {"grad_norm": norm, "grad_fn": elsewhere}
            updates, opt_state = told.update(grads, state.opt_state, moving, **more)
            params = optax.apply_updates(moving, updates)
            return params, dict(collections), opt_state, average(state, params)

        def keep() -> tuple[Any, ...]:
            return moving, dict(state.collections), state.opt_state, averages(state)

        # A choice between whole branches: one between arrays would cost the update half as much
        # again, in time and in memory.
        params, new_collections, opt_state, ema = jax.lax.cond(finite, update, keep)
        skipped = 1 - finite.astype(jnp.int32)
        new = TrainState(
            step=state.step + 1,
            params=whole(params, state.params),
            collections=new_collections,
            opt_state=opt_state,
            ema=whole(ema, state.ema),
            key=state.key,
            skipped=state.skipped + skipped,
            skipped_in_a_row=(state.skipped_in_a_row + 1) * skipped,
        )
        values = {
            "loss": loss,
            "grad_norm": norm,
            # The optimiser counts the updates that it made, which is what moves the schedule.
            "learning_rate": jnp.asarray(schedule(state.step - state.skipped), jnp.float32),
            "skipped_in_a_row": new.skipped_in_a_row,
            "sums": sums,
            "watched": {**watch(opt_state), **shares},
        }
        return new, values

    return jax.jit(
        traced_on(mesh, step),
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def make_evaluate(module: nn.Module, mesh: Mesh, variables: Any) -> Callable[..., TaskOutput]:
    """`evaluate(variables, batch) -> TaskOutput`, whole on every device.

    `variables` is the tree of their shardings.
    """

    if isinstance(module, Prepares):
        return _Prepared(module, mesh, variables)
    return _evaluation(module, mesh, variables)


def _evaluation(module: nn.Module, mesh: Mesh, variables: Any) -> Callable[..., TaskOutput]:
    leaves, tree = jax.tree.flatten(variables)
    key = (module, mesh, tuple(leaves), tree)
    try:
        hash(key)
    except TypeError:
        return _compiled.__wrapped__(*key)
    return _compiled(*key)


@functools.lru_cache(maxsize=8)
def _compiled(
    module: nn.Module, mesh: Mesh, leaves: tuple[Any, ...], tree: Any
) -> Callable[..., TaskOutput]:
    """One for modules that are equal: a run that was trained here is not compiled again."""

    def evaluate(variables: Any, batch: Batch) -> Any:
        return module.apply(variables, batch, train=False)

    return jax.jit(
        traced_on(mesh, evaluate),
        in_shardings=(jax.tree.unflatten(tree, leaves), batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )


@runtime_checkable
class Prepares(Protocol):
    """A module of which evaluation computes something once, and not for each batch."""

    def prepare(self, variables: Any) -> dict[str, Any]:
        """Further collections of variables, made of these."""


class _Prepared:
    """An evaluation that keeps what was prepared of the variables that it was last given."""

    def __init__(self, module: Any, mesh: Mesh, shardings: Any):
        self._module = module
        self._mesh = mesh
        self._shardings = shardings
        self._function: Callable[..., TaskOutput] | None = None
        self._given: Any = None
        self._whole: Any = None

    def __call__(self, variables: Any, batch: Batch) -> TaskOutput:
        if self._given is not variables:
            more = jax.device_put(self._module.prepare(variables), replicated(self._mesh))
            self._given, self._whole = variables, {**variables, **more}
            if self._function is None:
                whole = {name: replicated(self._mesh) for name in more}
                self._function = _evaluation(self._module, self._mesh, {**self._shardings, **whole})
        assert self._function is not None
        return self._function(self._whole, batch)
