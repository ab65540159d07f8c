"""Batch statistics of parameters that no step trained with, such as means of others."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from mmjax.core import rng
from mmjax.core.types import Batch
from mmjax.parallel.mesh import traced_on
from mmjax.parallel.sharding import batch_sharding, put_batch, replicated
from mmjax.train.hooks import Hook, Moment

if TYPE_CHECKING:
    from mmjax.data.dataset import Dataset
    from mmjax.train.trainer import Trainer

KIND = "batch_stats"
"""The collection that they are in."""

_MOST = 200
"""Batches of an epoch that are looked at."""


def batches_for(dataset: Dataset) -> int:
    """How many training batches say what the statistics are."""
    return min(dataset.steps_per_epoch("train"), _MOST)


class Statistics:
    """`statistics(variables, batches)` is the collection `batch_stats` of these parameters.

    Each running average is the mean over `batches` of what it follows, every batch with the same
    weight, in training mode; what it was before has no part in it (`torch.optim.swa_utils.
    update_bn`, whose variances are the unbiased ones; here as in training they are not). A running
    average is new = m old + (1 - m) batch: one call tells each one's m. What is no such average, as
    a count is not, stays. `shardings` are those of the variables.
    """

    def __init__(self, module: nn.Module, mesh: Mesh, shardings: Mapping[str, Any], seed: int):
        self._mesh, self._shardings = mesh, shardings
        key = jax.random.key(seed, impl=rng.IMPLEMENTATION)

        def once(variables: Mapping[str, Any], batch: Batch, index: Any) -> Any:
            collections = [name for name in variables if name != "params"]
            given = {**variables, "clock": {"progress": jnp.ones((), jnp.float32)}}
            if getattr(module, "uses_momentum", False):
                given["momentum"] = variables["params"]
            rngs = rng.streams(key, index)
            _, new = module.apply(given, batch, train=True, rngs=rngs, mutable=collections)
            return new[KIND]

        self._once = jax.jit(
            traced_on(mesh, once),
            in_shardings=(shardings, batch_sharding(mesh), replicated(mesh)),
            out_shardings=replicated(mesh),
        )

    def __call__(self, variables: Mapping[str, Any], batches: Iterable[Batch]) -> Any:
        old = jax.device_get(variables[KIND])
        zeros = jax.tree.map(np.zeros_like, old)
        total, kept, count = zeros, zeros, 0
        for count, batch in enumerate(batches, start=1):
            placed = put_batch(batch, self._mesh)
            found = self._from(variables, zeros, placed, count)
            if count == 1:
                # Of the size of what was found, so that the difference is exact.
                start = jax.tree.map(lambda one: np.where(one == 0, 1, 10 * one), found)
                moved = self._from(variables, start, placed, count)
                kept = jax.tree.map(_kept, found, moved, start)
            total = jax.tree.map(lambda a, b: a + np.asarray(b, np.float64), total, found)
        if not count:
            return variables[KIND]
        new = jax.tree.map(lambda one, m, was: _mean(one / count, m, was), total, kept, old)
        return jax.device_put(new, self._shardings[KIND])

    def _from(self, variables: Mapping[str, Any], start: Any, batch: Batch, index: int) -> Any:
        """What the averages are after a batch, from these on."""
        placed = jax.device_put(start, self._shardings[KIND])
        at = jax.device_put(np.int32(index), replicated(self._mesh))
        return jax.device_get(self._once({**variables, KIND: placed}, batch, at))


def _kept(found: np.ndarray, moved: np.ndarray, start: np.ndarray) -> np.ndarray:
    return np.asarray((np.float64(moved) - np.float64(found)) / np.float64(start))


def _mean(found: np.ndarray, kept: np.ndarray, old: np.ndarray) -> np.ndarray:
    moves = 1 - kept > 1e-4
    return np.where(moves, found / np.where(moves, 1 - kept, 1), old).astype(old.dtype)


@dataclasses.dataclass
class Recompute:
    """Before validation of parameters that are averages: the batch statistics are made theirs."""

    trainer: Trainer
    statistics: Statistics
    load: Callable[..., AbstractContextManager[Iterable[Batch]]]

    waits = True

    def __call__(self, moment: Moment) -> None:
        periods = self.trainer.periods
        begun = periods.average is not None and moment.step > periods.average
        if not (begun and periods.due(periods.evaluate or periods.total, moment.step)):
            return
        state, dataset = moment.state, self.trainer.dataset
        variables = state.best_variables
        seed = self.trainer.config.seed
        with self.load(dataset, "train", self.trainer.mesh, train=True, seed=seed) as batches:
            some = itertools.islice(batches, batches_for(dataset))
            new = self.statistics(variables, some)
        collections = {**state.collections, KIND: new}
        moment.state = dataclasses.replace(state, collections=collections)


def hooks(
    trainer: Trainer, load: Callable[..., AbstractContextManager[Iterable[Batch]]]
) -> list[Hook]:
    """What a run with averaged weights and batch statistics needs; of others nothing.

    `load` is that of the trainer.
    """
    planned = trainer.plan.shardings
    if trainer.periods.average is None or KIND not in planned.collections:
        return []
    seed = trainer.config.seed
    made = Statistics(trainer.module, trainer.mesh, planned.variables, seed)
    return [Recompute(trainer, made, load)]
