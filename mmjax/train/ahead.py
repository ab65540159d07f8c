"""The training step of a config, compiled for devices that may not be there."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from typing import Any

import jax

from mmjax.core.typing import Array
from mmjax.data.dataset import Dataset
from mmjax.parallel import flops
from mmjax.parallel.program import Program
from mmjax.parallel.sharding import batch_sharding
from mmjax.parallel.topology import FAST, Topology
from mmjax.train.config import Config
from mmjax.train.example import example_shapes
from mmjax.train.state import TrainState
from mmjax.train.trainer import Trainer

_NEEDED = (
    re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available \w+ \(([\d.]+)([KMGT]?)\)"),
    re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?)"),
)
"""Both ways in which a TPU's compiler says what it wanted and had."""
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Bytes of a step on one device."""

    arguments: int
    """Training state and batch, as the compiler lays them out."""
    outputs: int
    """What does not take the arguments' place."""
    temporary: int
    """Activations, gradients, and what is gathered, at their peak."""
    program: int
    host: int = 0
    """In the host's memory: what `remat=offload` puts there. No part of `total`."""

    @classmethod
    def of(cls, analysis: Any) -> StepMemory:
        """What XLA's analysis of a compiled program says."""
        return cls(
            arguments=analysis.argument_size_in_bytes,
            outputs=analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
            temporary=analysis.temp_size_in_bytes,
            program=analysis.generated_code_size_in_bytes,
            host=analysis.host_temp_size_in_bytes,
        )

    @property
    def total(self) -> int:
        return self.arguments + self.outputs + self.temporary + self.program


@dataclasses.dataclass(frozen=True)
class Ahead:
    """A compiled step: nothing of it ran."""

    trainer: Trainer
    batch: Any
    flops: float
    """Of matrix products, over all devices, with what is computed again."""
    memory: StepMemory | None
    """None where the compiler found no room."""
    program: Program | None
    needed: int
    """Bytes of one device, also where they are not there."""
    limit: int | None
    """Bytes that the compiler had; None if it did not say."""
    buffers: list[tuple[float, str, str]]
    """The largest arrays: bytes, shape, operation."""
    seconds: float
    """Processor time of tracing and compiling."""


def trace(config: Config, dataset: Dataset, topology: Topology) -> tuple[Trainer, Any, Any]:
    """The trainer on the topology's mesh, the shapes of a batch, and the step's trace."""
    trainer = Trainer.build(config, dataset, mesh=topology.mesh(config.mesh))
    sharding = batch_sharding(trainer.mesh)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        example_shapes(trainer.dataset, config.data.batch_size),
    )
    step: Any = trainer.step
    return trainer, batch, step.trace(trainer.state, batch)


def compile_step(
    config: Config,
    dataset: Dataset,
    topology: Topology,
    *,
    thorough: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Ahead:
    """Lowers and compiles the step that `Trainer` would run on the topology.

    For TPUs with the least effort unless `thorough`, which takes several times as long: programs
    then fuse more, and move fewer bytes. `options` are further ones of the compiler.

    Raises ConfigError where the config does not fit the topology; a step for which its devices have
    too little memory is returned as one that does not fit.
    """
    start = time.process_time()
    trainer, batch, traced = trace(config, dataset, topology)
    counted = flops.count(traced.jaxpr.jaxpr)
    lowered = traced.lower(lowering_platforms=(topology.platform,))
    fast = FAST if topology.platform == "tpu" and not thorough else {}
    options = {**fast, **(options or {})}
    try:
        compiled = lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        room = lacking(str(error))
        if room is None:
            raise
        state = local_bytes((trainer.state, batch))
        ways = trainer.mesh.size
        arrays = flops.largest_arrays(traced.jaxpr.jaxpr)
        buffers = [(size / ways, shape, name) for size, shape, name in arrays]
        spent = time.process_time() - start
        return Ahead(trainer, batch, counted, None, None, room[0] + state, room[1], buffers, spent)
    memory = StepMemory.of(compiled.memory_analysis())
    program = Program(compiled.as_text())
    return Ahead(
        trainer,
        batch,
        counted,
        memory,
        program,
        memory.total,
        None,
        program.largest(),
        time.process_time() - start,
    )


def state_bytes(state: TrainState) -> dict[str, int]:
    """Bytes of one device by kind, without the compiler's padding."""
    kinds = {
        "parameters": state.params,
        "optimiser": state.opt_state,
        "averaged parameters": state.ema,
        "other variables": state.collections,
    }
    return {name: local_bytes(tree) for name, tree in kinds.items()}


def local_bytes(tree: Any) -> int:
    """Bytes of a tree of sharded shapes on one device."""

    def one(leaf: Array) -> int:
        part = leaf.sharding.shard_shape(leaf.shape)
        size = 1
        for dim in part:
            size *= dim
        return size * leaf.dtype.itemsize

    return sum(map(one, jax.tree.leaves(tree)))


def lacking(told: str) -> tuple[int, int] | None:
    """Bytes that a compiler wanted beside the state, and had; None if that is not what it says."""
    if "RESOURCE_EXHAUSTED" not in told:
        return None
    found = next((match for one in _NEEDED if (match := one.search(told))), None)
    if found is None:
        return None
    wanted, had = (int(float(found[i]) * _UNITS[found[i + 1]]) for i in (1, 3))
    return wanted, had
