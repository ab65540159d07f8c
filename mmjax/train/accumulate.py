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

Gradients = tuple[Any, Array, Mapping[str, Array], Any]
"""Of the parameters, the loss, the sums and the new collections."""


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
    the whole batch. `frozen` is a tree of bools: nothing is computed for the gradients of
    parameters that have True.

    A module that `uses_momentum` finds the averaged parameters in its collection `momentum`, every
    module the share of the run that is done in `clock/progress`.
    """

    def variables(params: Any, collections: Any, state: TrainState) -> dict[str, Any]:
        if frozen is not None:
            params = jax.tree.map(
                lambda param, still: jax.lax.stop_gradient(param) if still else param,
                params,
                frozen,
            )
        clock = {"progress": (state.step / total_steps).astype(jnp.float32)}
        given = {"params": params, **collections, "clock": clock}
        return {**given, "momentum": state.ema} if _uses_momentum(module) else given

    def loss_of(params: Any, collections: Any, state: TrainState, batch: Batch, rngs: Any):
        output, updated = module.apply(
            variables(params, collections, state),
            batch,
            train=True,
            rngs=rngs,
            mutable=list(collections),
        )
        return output.loss, (output, updated)

    def whole(state: TrainState, batch: Batch, key: Array) -> Gradients:
        grad = jax.value_and_grad(loss_of, has_aux=True)
        rngs = rng.streams(key, state.step)
        (_, (output, new)), grads = grad(state.params, state.collections, state, batch, rngs)
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
        micro = split(batch)

        def one(carry: Any, inputs: tuple[Array, Batch]):
            collections, grads, loss, weight, sums = carry
            index, part = inputs
            rngs = micro_streams(key, state.step, index)
            (_, (output, collections)), new = grad(state.params, collections, state, part, rngs)
            grads = jax.tree.map(lambda a, g: a + g * output.weight, grads, new)
            sums = jax.tree.map(jnp.add, sums, output.metrics)
            loss, weight = loss + output.loss * output.weight, weight + output.weight
            return (collections, grads, loss, weight, sums), None

        first = jax.tree.map(lambda x: x[0], micro)
        rngs = rng.streams(key, state.step)
        output = jax.eval_shape(
            lambda: loss_of(state.params, state.collections, state, first, rngs)[1][0]
        )
        start = (state.collections, _zeros(state.params), 0.0, 0.0, _zeros(output.metrics))
        carry, _ = jax.lax.scan(one, start, (jnp.arange(accumulate), micro))
        collections, grads, loss, total, sums = carry
        weight = jnp.maximum(total, 1e-9)
        grads = jax.tree.map(lambda g, p: (g / weight).astype(p.dtype), grads, state.params)
        return grads, loss / weight, sums, collections

    def cached(state: TrainState, batch: Batch, key: Array) -> Gradients:
        micro, indices = split(batch), jnp.arange(accumulate)
        together = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
        rngs = rng.streams(key, state.step)

        def encode(params: Any, index: Array, part: Batch) -> Any:
            given = micro_streams(key, state.step, index)
            found = variables(params, state.collections, state)
            return module.apply(found, part, train=True, rngs=given, method="encode")

        def forward(_: None, inputs: tuple[Array, Batch]):
            return None, encode(state.params, *inputs)

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
            moving = iter(floats)
            joined = [next(moving) if f else x for f, x in zip(inexact, leaves, strict=True)]
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
        (loss, (output, collections)), (grads, cotangents) = grad(state.params, floats)

        def backward(total: Any, inputs: tuple[Array, Batch, list[Array]]):
            index, part, cotangent = inputs

            def floats_of(params: Any) -> list[Array]:
                found = jax.tree.leaves(encode(params, index, part))
                return [leaf for leaf, f in zip(found, inexact, strict=True) if f]

            _, pull = jax.vjp(floats_of, state.params)
            return jax.tree.map(jnp.add, total, pull(cotangent)[0]), None

        start = jax.tree.map(jnp.add, _zeros(state.params), grads)
        grads, _ = jax.lax.scan(backward, start, (indices, micro, split(cotangents)))
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, state.params)
        return grads, loss, output.metrics, collections

    if accumulate == 1:
        return whole
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
