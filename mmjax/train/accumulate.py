"""Gradients of a batch: at once, added up over micro-batches, or through cached representations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import einops
import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjax.core import rng
from mmjax.core.types import Batch
from mmjax.core.typing import Array
from mmjax.parallel.mesh import BATCH_AXES
from mmjax.train.state import TrainState
from mmjax.train.trained import trained, whole

Gradients = tuple[Any, Array, Mapping[str, Array], Any]
"""Of the trained parameters, the loss, the sums and the new collections."""


def make_gradients(
    module: nn.Module,
    mesh: Mesh,
    *,
    accumulate: int = 1,
    frozen: Any = None,
    total_steps: int = 1,
) -> Callable[[TrainState, Batch, Array], Gradients]:
    """`gradients(state, batch, key)` of the module's loss.

    With `accumulate`, the batch is worked off in that many micro-batches, each spread over the
    whole mesh. Losses that are a weighted mean over rows are added up, weighted by the rows that
    count. A module that is `batch_coupled` computes a loss of all rows together: its `encode` runs
    on each micro-batch, its `finish` on all of them, and each micro-batch is encoded a second time
    for its gradient (GradCache, Gao et al. 2021, algorithm 1). Either way the gradient is that of
    the whole batch. `frozen` is a tree of bools: parameters that have True get no gradient, which
    is None in their place, and nothing is computed for it.

    A module that `uses_momentum` finds the averaged parameters in its collection `momentum`, every
    module the share of the run that is done in `clock/progress`.
    """

    def variables(params: Any, collections: Any, state: TrainState) -> dict[str, Any]:
        clock = {"progress": (state.step / total_steps).astype(jnp.float32)}
        given = {"params": whole(params, state.params), **collections, "clock": clock}
        return {**given, "momentum": state.best_params} if _uses_momentum(module) else given

    def loss_of(params: Any, collections: Any, state: TrainState, batch: Batch, rngs: Any):
        output, updated = module.apply(
            variables(params, collections, state),
            batch,
            train=True,
            rngs=rngs,
            mutable=list(collections),
        )
        return output.loss, (output, updated)

    def at_once(state: TrainState, batch: Batch, key: Array) -> Gradients:
        grad = jax.value_and_grad(loss_of, has_aux=True)
        rngs = rng.streams(key, state.step)
        moving = trained(state.params, frozen)
        (_, (output, new)), grads = grad(moving, state.collections, state, batch, rngs)
        return grads, output.loss, output.metrics, new

    def split(tree: Any) -> Any:
        spread = NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))
        return jax.tree.map(
            lambda x: jax.lax.with_sharding_constraint(
                einops.rearrange(x, "(b k) ... -> k b ...", k=accumulate), spread
            ),
            tree,
        )

    def added(state: TrainState, batch: Batch, key: Array) -> Gradients:
        grad = jax.value_and_grad(loss_of, has_aux=True)
        micro, params = split(batch), trained(state.params, frozen)

        def one(carry: Any, inputs: tuple[Array, Batch]):
            collections, grads, loss, weight, sums = carry
            index, part = inputs
            rngs = micro_streams(key, state.step, index)
            (_, (output, collections)), new = grad(params, collections, state, part, rngs)
            grads = jax.tree.map(lambda a, g: a + g * output.weight, grads, new)
            sums = jax.tree.map(jnp.add, sums, output.metrics)
            loss, weight = loss + output.loss * output.weight, weight + output.weight
            return (collections, grads, loss, weight, sums), None

        first = jax.tree.map(lambda x: x[0], micro)
        rngs = rng.streams(key, state.step)
        output = jax.eval_shape(
            lambda: loss_of(params, state.collections, state, first, rngs)[1][0]
        )
        start = (state.collections, _zeros(params), 0.0, 0.0, _zeros(output.metrics))
        carry, _ = jax.lax.scan(one, start, (jnp.arange(accumulate), micro))
        collections, grads, loss, total, sums = carry
        weight = jnp.maximum(total, 1e-9)
        grads = jax.tree.map(lambda g, p: (g / weight).astype(p.dtype), grads, params)
        return grads, loss / weight, sums, collections

    def cached(state: TrainState, batch: Batch, key: Array) -> Gradients:
        micro, indices = split(batch), jnp.arange(accumulate)
        together = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
        rngs = rng.streams(key, state.step)
        moving = trained(state.params, frozen)

        def encode(params: Any, index: Array, part: Batch) -> Any:
            given = micro_streams(key, state.step, index)
            found = variables(params, state.collections, state)
            return module.apply(found, part, train=True, rngs=given, method="encode")

        def forward(_: None, inputs: tuple[Array, Batch]):
            return None, encode(moving, *inputs)

        _, stacked = jax.lax.scan(forward, None, (indices, micro))
        encoded = jax.tree.map(
            lambda x: jax.lax.with_sharding_constraint(
                einops.rearrange(x, "k b ... -> (b k) ..."), together
            ),
            stacked,
        )
        leaves, structure = jax.tree.flatten(encoded)
        inexact = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

        def of_representations(params: Any, floats: list[Array]):
            given = iter(floats)
            joined = [next(given) if f else x for f, x in zip(inexact, leaves, strict=True)]
            output, updated = module.apply(
                variables(params, state.collections, state),
                jax.tree.unflatten(structure, joined),
                batch,
                train=True,
                rngs=rngs,
                mutable=list(state.collections),
                method="finish",
            )
            return output.loss, (output, updated)

        floats = [leaf for leaf, f in zip(leaves, inexact, strict=True) if f]
        grad = jax.value_and_grad(of_representations, argnums=(0, 1), has_aux=True)
        (loss, (output, collections)), (grads, cotangents) = grad(moving, floats)

        def backward(total: Any, inputs: tuple[Array, Batch, list[Array]]):
            index, part, cotangent = inputs

            def floats_of(params: Any) -> list[Array]:
                found = jax.tree.leaves(encode(params, index, part))
                return [leaf for leaf, f in zip(found, inexact, strict=True) if f]

            _, pull = jax.vjp(floats_of, moving)
            return jax.tree.map(jnp.add, total, pull(cotangent)[0]), None

        start = jax.tree.map(jnp.add, _zeros(moving), grads)
        grads, _ = jax.lax.scan(backward, start, (indices, micro, split(cotangents)))
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, moving)
        return grads, loss, output.metrics, collections

    if accumulate == 1:
        return at_once
    return cached if getattr(module, "batch_coupled", False) else added


def micro_streams(key: Array, step: Array, index: Array) -> dict[str, Array]:
    """The random streams of one micro-batch.

    What is hidden from a row does not depend on how the batch is split; what is dropped out does.
    """
    own = rng.streams(jax.random.fold_in(key, index), step)
    return {**own, "mask": rng.streams(key, step)["mask"]}


def _uses_momentum(module: nn.Module) -> bool:
    return getattr(module, "uses_momentum", False)


def _zeros(tree: Any) -> Any:
    """Sums are in float32 whatever the parameters are stored in."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), tree)
