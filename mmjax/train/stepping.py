"""Steps one after another, at little cost to the host."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mmjax.core.types import Batch
from mmjax.parallel.mesh import traced_on
from mmjax.parallel.sharding import batch_sharding, put_batch, replicated
from mmjax.train.heap import keep_freed
from mmjax.train.packed import Packed, pack
from mmjax.train.state import TrainState
from mmjax.train.step import Step


def feed(batch: Batch, mesh: Mesh) -> Batch:
    """A batch as `Stepping.take` wants it.

    For one device as it is: a program takes NumPy's arrays itself in an eighth of the time in
    which they are put on the device one by one.
    """
    return batch if mesh.size == 1 else put_batch(batch, mesh)


class Stepping:
    """A training state, and the step that moves it on.

    To start a program costs the host some microseconds for each array. On a mesh of one device,
    where that may be a good part of a step, the state's small arrays and all that a step returns
    are therefore packed into one vector a dtype between steps (`Packed`): the same step within a
    larger program, to the same bits.
    """

    def __init__(self, step: Step, state: TrainState, mesh: Mesh):
        if mesh.devices.flat[0].platform == "cpu":
            keep_freed()
        self._mesh = mesh
        self._packs = mesh.size == 1
        self._state: TrainState | None = state
        self._packed: Packed | None = None
        self._step: Any = self._packing(step) if self._packs else step

    def _packing(self, step: Step) -> Any:
        def packed(state: Packed, batch: Batch) -> tuple[Packed, Packed]:
            new, values = step(state.tree, batch)
            return pack(new), pack(values)

        whole = replicated(self._mesh)
        return jax.jit(
            traced_on(self._mesh, packed),
            in_shardings=(whole, batch_sharding(self._mesh)),
            out_shardings=whole,
            donate_argnums=0,
        )

    def take(self, batch: Batch) -> Any:
        """One step on what `feed` returned; what it returns, on the devices, may be `Packed`."""
        if not self._packs:
            with jax.transfer_guard("disallow"):
                self._state, values = self._step(self._state, batch)
            return values
        if self._packed is None:
            self._packed = self._put(self._state)
        self._state = None
        with (
            jax.transfer_guard_device_to_host("disallow"),
            jax.transfer_guard_device_to_device("disallow"),
        ):
            self._packed, values = self._step(self._packed, batch)
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
