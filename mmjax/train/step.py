"""The compiled training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import einops
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.core import rng
from mmjax.core.types import Batch, TaskOutput
from mmjax.core.typing import Array
from mmjax.parallel.mesh import BATCH_AXES
from mmjax.parallel.sharding import batch_sharding, replicated
from mmjax.train.optim import global_norm
from mmjax.train.state import TrainState


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
    frozen: Any = None,
) -> Step:
    """`step(state, batch) -> (state, values)`: loss, gradients, clipping, update, average.

    Compiled once per batch shape; the state is donated. `values` are the loss and gradient norm,
    whether the step was skipped, and the task's sums. A step whose loss or gradients are not finite
    leaves parameters, optimiser and average as they were, bit for bit, and is counted.

    With `accumulate`, the batch is worked off in that many micro-batches, each spread over the
    whole mesh, and weighted by the rows that count in it: the gradient is that of the whole batch.
    `frozen` is a tree of bools: nothing is computed for the gradients of parameters that have True.
    """

    def loss_of(params: Any, collections: Any, batch: Batch, rngs: dict[str, Array]):
        if frozen is not None:
            params = jax.tree.map(
                lambda param, still: jax.lax.stop_gradient(param) if still else param,
                params,
                frozen,
            )
        output, updated = module.apply(
            {"params": params, **collections},
            batch,
            train=True,
            rngs=rngs,
            mutable=list(collections),
        )
        return output.loss, (output, updated)

    def gradients(state: TrainState, batch: Batch, key: Array):
        rngs = rng.streams(key, state.step)
        grad = jax.value_and_grad(loss_of, has_aux=True)
        if accumulate == 1:
            (_, (output, collections)), grads = grad(state.params, state.collections, batch, rngs)
            return grads, output.loss, output.metrics, collections
        spread = NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))
        micro = jax.tree.map(
            lambda x: jax.lax.with_sharding_constraint(
                einops.rearrange(x, "(b k) ... -> k b ...", k=accumulate), spread
            ),
            batch,
        )

        def one(carry: Any, inputs: tuple[Array, Batch]):
            collections, grads, loss, weight, sums = carry
            index, part = inputs
            rngs = rng.streams(jax.random.fold_in(key, index), state.step)
            (_, (output, collections)), new = grad(state.params, collections, part, rngs)
            grads = jax.tree.map(lambda a, g: a + g * output.weight, grads, new)
            sums = jax.tree.map(jnp.add, sums, output.metrics)
            loss, weight = loss + output.loss * output.weight, weight + output.weight
            return (collections, grads, loss, weight, sums), None

        def zeros(tree: Any) -> Any:
            # Sums are in float32 whatever the parameters are stored in.
            return jax.tree.map(
                lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), tree
            )

        first = jax.tree.map(lambda x: x[0], micro)
        output = jax.eval_shape(lambda: loss_of(state.params, state.collections, first, rngs)[1][0])
        start = (state.collections, zeros(state.params), 0.0, 0.0, zeros(output.metrics))
        carry, _ = jax.lax.scan(one, start, (jnp.arange(accumulate), micro))
        collections, grads, loss, total, sums = carry
        weight = jnp.maximum(total, 1e-9)
        grads = jax.tree.map(lambda g, p: (g / weight).astype(p.dtype), grads, state.params)
        return grads, loss / weight, sums, collections

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        grads, loss, sums, collections = gradients(
            state, batch, jax.random.wrap_key_data(state.key, impl=rng.IMPLEMENTATION)
        )
        grads = jax.lax.with_sharding_constraint(grads, shardings.params)
        norm = global_norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = state.ema
        if ema_decay:
            # A young average forgets its random start faster.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            still = frozen or jax.tree.map(lambda _: False, ema)
            ema = jax.tree.map(
                lambda a, p, f: a if f else a + (p - a) * (1.0 - decay).astype(a.dtype),
                ema,
                params,
                still,
            )

        def where_finite(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        skipped = 1 - finite.astype(jnp.int32)
        new = TrainState(
            step=state.step + 1,
            params=where_finite(params, state.params),
            collections=where_finite(dict(collections), dict(state.collections)),
            opt_state=where_finite(opt_state, state.opt_state),
            ema=where_finite(ema, state.ema),
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
        }
        return new, values

    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        donate_argnums=0,
    )


def make_evaluate(module: nn.Module, mesh: Mesh, variables: Any) -> Callable[..., TaskOutput]:
    """`evaluate(variables, batch) -> TaskOutput`, whole on every device.

    `variables` is the tree of their shardings.
    """

    def evaluate(variables: Any, batch: Batch) -> Any:
        return module.apply(variables, batch, train=False)

    return jax.jit(
        evaluate,
        in_shardings=(variables, batch_sharding(mesh)),
        out_shardings=replicated(mesh),
    )
