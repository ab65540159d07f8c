"""Steps one after another, at little cost to the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmjax.core.types import Batch
from mmjax.parallel.mesh import traced_on
from mmjax.parallel.sharding import batch_sharding, put_batch, replicated, several_batches
from mmjax.train.heap import keep_freed
from mmjax.train.packed import Packed, pack
from mmjax.train.periods import Periods
from mmjax.train.state import TrainState
from mmjax.train.step import Step


def calls(
    batches: Iterator[Batch], periods: Periods, start: int, most: int
) -> Iterator[tuple[list[Batch], bool]]:
    """The batches of steps that are taken in one call, from `start` steps on, and whether one more
    was taken from `batches`.

    They are of one shape, `most` at most, and the last one's step is the only one at which anything
    is due.
    """
    found: list[Batch] = []
    for step in range(start + 1, periods.total + 1):
        batch = next(batches)
        if found and _shapes(batch) != _shapes(found[0]):
            yield found, True
            found = []
        found.append(batch)
        if step % most == 0 or periods.border(step):
            yield found, False
            found = []


def _shapes(batch: Batch) -> list[tuple[int, ...]]:
    return [leaf.shape for leaf in jax.tree.leaves(batch)]


def feed(batches: Sequence[Batch], mesh: Mesh, most: int = 1) -> Batch:
    """Batches as a program of `most` steps wants them: with more than one, stacked along a new
    first axis of that length, which repeats the last one.

    For one device as they are: a program takes NumPy's arrays itself in an eighth of the time in
    which they are put on the device one by one.
    """
    if most == 1:
        (batch,) = batches
        return batch if mesh.size == 1 else put_batch(batch, mesh)
    whole = [*batches, *[batches[-1]] * (most - len(batches))]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *whole)
    return stacked if mesh.size == 1 else put_batch(stacked, mesh, axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Within:
    """What one of several steps returned: the entry at `place` of every array."""

    several: Any
    place: int

    def of(self, several: Any) -> Any:
        """That entry of the arrays, wherever they are now."""
        return jax.tree.map(lambda array: array[self.place], several)


class Stepping:
    """A training state, and the step that moves it on, up to `most` times in one program.

    To start a program costs the host some microseconds for each array. On a mesh of one device,
    where that may be a good part of a step, the state's small arrays and all that a step returns
    are therefore packed into one vector a dtype between steps (`Packed`): the same step within a
    larger program. Several steps are a loop of as many turns as there are
    batches, so that one program does for any number of them.
    """

    def __init__(self, step: Step, state: TrainState, mesh: Mesh, most: int = 1):
        if mesh.devices.flat[0].platform == "cpu":
            keep_freed()
        self._mesh = mesh
        self._most = most
        self._packs = mesh.size == 1
        self._state: TrainState | None = state
        self._packed: Packed | None = None
        made = step if most == 1 else self._looping(step)
        self._step: Any = self._packing(made) if self._packs else self._compiled(made, state)

    def _looping(self, step: Step) -> Callable[..., Any]:
        """`several(state, batches, count)`: the state after, and of each step what it returned."""
        rows = batch_sharding(self._mesh)

        def several(state: TrainState, batches: Batch, count: Any) -> tuple[TrainState, Any]:
            def at(place: Any) -> Batch:
                one = jax.tree.map(lambda array: array[place], batches)
                return jax.lax.with_sharding_constraint(one, rows)

            def turn(place: Any, carry: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
                state, told = carry
                state, values = step(state, at(place))
                return state, jax.tree.map(lambda a, v: a.at[place].set(v), told, pack(values))

            shapes = jax.eval_shape(lambda: pack(step(state, at(0))[1]))
            told = jax.tree.map(lambda one: jnp.zeros((self._most, *one.shape), one.dtype), shapes)
            return jax.lax.fori_loop(0, count, turn, (state, told))

        return several

    def _packing(self, step: Callable[..., Any]) -> Any:
        def packed(state: Packed, *given: Any) -> tuple[Packed, Any]:
            new, values = step(state.tree, *given)
            return pack(new), values if self._most > 1 else pack(values)

        return self._jit(packed, replicated(self._mesh))

    def _compiled(self, step: Any, state: TrainState) -> Any:
        if self._most == 1:
            return step
        return self._jit(step, jax.tree.map(lambda leaf: leaf.sharding, state))

    def _jit(self, step: Callable[..., Any], of_state: Any) -> Any:
        whole = replicated(self._mesh)
        of_batch = batch_sharding(self._mesh)
        given = (of_batch,) if self._most == 1 else (several_batches(self._mesh), whole)
        return jax.jit(
            traced_on(self._mesh, step),
            in_shardings=(of_state, *given),
            out_shardings=(of_state, whole),
            donate_argnums=0,
        )

    def take(self, batches: Sequence[Batch]) -> list[Any]:
        """A step on each of the batches, `most` at most, which are of one shape.

        What each returned, on the devices; it may be `Packed`, or `Within` what several did.
        """
        return self.take_fed(feed(batches, self._mesh, self._most), len(batches))

    def take_fed(self, fed: Batch, count: int) -> list[Any]:
        """`take` of so many batches that `feed` returned."""
        if self._most == 1:
            return [self._take(fed)]
        turns: Any = np.int32(count)
        if not self._packs:
            turns = jax.device_put(turns, replicated(self._mesh))
        told = self._take(fed, turns)
        return [Within(told, place) for place in range(count)]

    def _take(self, *given: Any) -> Any:
        if not self._packs:
            with jax.transfer_guard("disallow"):
                self._state, values = self._step(self._state, *given)
            return values
        if self._packed is None:
            self._packed = self._put(self._state)
        self._state = None
        with (
            jax.transfer_guard_device_to_host("disallow"),
            jax.transfer_guard_device_to_device("disallow"),
        ):
            self._packed, values = self._step(self._packed, *given)
        return values

    @property
    def state(self) -> TrainState:
        """After the last step; the next one takes its arrays' memory."""
        if self._state is None:
            assert self._packed is not None
            packed = self._packed
            # Copied: what NumPy sees of a vector is the memory that the next step writes to.
            vectors = [np.array(vector) for vector in jax.device_get(packed.vectors)]
            tree = dataclasses.replace(packed, vectors=vectors).tree
            self._state = jax.device_put(tree, replicated(self._mesh))
        return self._state

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state, self._packed = state, None

    def _put(self, state: Any) -> Packed:
        packed = pack(state, join=lambda parts: np.concatenate(jax.device_get(parts)))
        return jax.device_put(packed, replicated(self._mesh))

    @property
    def programs(self) -> int:
        """How many were compiled: one for each shape of a batch."""
        return self._step._cache_size()
