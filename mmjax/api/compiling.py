"""Compiles the training step of a config for hardware that is not there, and says what it takes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from mmjax.api.batch_size import device_memory
from mmjax.api.candidates import Candidate, Guess, candidates, remat_settings
from mmjax.api.compiled import Advice, CompiledStep, by_kind, gathered, roofline
from mmjax.core import config as config_lib
from mmjax.data.dataset import Dataset
from mmjax.data.outline import NeedsRows, outline
from mmjax.data.pipeline import prepare
from mmjax.parallel import flops
from mmjax.parallel.collectives import collectives
from mmjax.parallel.mesh import BATCH_AXES
from mmjax.parallel.topology import Topology
from mmjax.train.ahead import Ahead, compile_step, trace
from mmjax.train.config import Config
from mmjax.train.warm_start import with_encoders

log = logging.getLogger(__name__)

_SHARE = 0.97
"""Of a chip's memory that a program may take: the rest is the system's."""

Told = Callable[[CompiledStep], None]


def compile(
    config: Config,
    *,
    topology: str,
    frame: Any = None,
    vocabulary: int | None = None,
    thorough: bool = False,
) -> CompiledStep:
    """What the training step of a config takes on a `topology`, compiled and not run.

    `topology` is such as "v5e:4x4", "v5p:2x2x4", "v6e:4x4", two slices as "v5e:4x4*2", or "cpu:8".
    Rows are read only where shapes depend on them; `vocabulary` is the number of ids of tokenizers
    that are not at hand. `thorough` compiles TPU programs with all effort.

    Raises ConfigError for an unknown topology, or a mesh or batch that does not divide, with the
    nearest; MissingExtra for TPUs without libtpu.
    """
    place = Topology.parse(topology)
    config, dataset, assumed = prepared_ahead(config, frame, vocabulary)
    return _compiled(config, dataset, place, (), assumed, thorough)


def search(
    config: Config,
    *,
    topology: str,
    most: int = 6,
    frame: Any = None,
    vocabulary: int | None = None,
    told: Told | None = None,
) -> list[CompiledStep]:
    """Other meshes, what is computed again, and micro-batches: those that fit, the fastest first.

    The config's own is compiled first, and then as many as `most` says in all, those that are
    guessed to be fastest and to fit, by what was learnt of the ones before. Those that do not fit
    come last. The batch, and so the result of training, stays.
    """
    place = Topology.parse(topology)
    config, dataset, assumed = prepared_ahead(config, frame, vocabulary)
    rest = list(candidates(config, place.devices))
    done: list[CompiledStep] = []
    guess: Guess | None = None
    while rest and len(done) < most:
        if guess is None:
            one = rest[0]
        else:
            known = guess
            fitting = [each for each in rest if known.fits(each)]
            if not fitting:
                break
            one = min(fitting, key=known.takes)
        rest.remove(one)
        found = _compiled(one.config, dataset, place, one.settings, assumed, False)
        if told is not None:
            told(found)
        done.append(found)
        guess = guess or Guess(found.limit, _state(found) * one.sizes[1] * one.sizes[2])
        guess.learn(one, max(found.needed - _state(found), 1.0))
    return sorted(done, key=lambda one: (not one.fits, _order(one)))


def _order(one: CompiledStep) -> float:
    return one.roofline.step if one.roofline is not None else float(one.needed)


def prepared_ahead(
    config: Config, frame: Any, vocabulary: int | None
) -> tuple[Config, Dataset, tuple[str, ...]]:
    """The whole config, its data set, of whose rows as few are read as can be, and what that
    assumes."""
    config = with_encoders(config_lib.check(config))
    try:
        if frame is None:
            found = outline(config.data, vocabulary=vocabulary)
            return config, found.dataset, found.assumed
    except NeedsRows as needs:
        log.info("rows are read: %s", needs)
    return config, prepare(config.data, frame=frame), ()


def _compiled(
    config: Config,
    dataset: Dataset,
    place: Topology,
    settings: tuple[str, ...],
    assumed: tuple[str, ...],
    thorough: bool,
) -> CompiledStep:
    ahead = compile_step(config, dataset, place, thorough=thorough)
    remat, micro = remat_settings(config), config.train.gradient_accumulation_steps
    plain, mesh = ahead.flops, dict(ahead.trainer.mesh.shape)
    if micro > 1 or any(one != "none" for one in remat.values()):
        plain = _model_flops(config, dataset, place, remat)
    memory = by_kind(ahead)
    sends = collectives(ahead.program) if ahead.program else []
    sent = gathered(sends, mesh, place.chip, place.slices)
    limit = _limit(ahead, place)
    # A TPU's compiler has refused what does not fit; its temporary arrays need not live at once.
    fits = ahead.memory is not None and (place.chip is not None or ahead.needed <= limit)
    return CompiledStep(
        topology=place.name,
        devices=place.devices,
        mesh=mesh,
        settings=settings,
        batch_size=config.data.batch_size,
        micro_batches=micro,
        remat=remat,
        fits=fits,
        needed=ahead.needed,
        limit=limit,
        memory=memory,
        host=ahead.memory.host if ahead.memory is not None else 0,
        flops=ahead.flops,
        model_flops=plain,
        bytes_moved=None if ahead.program is None else ahead.program.bytes_moved(),
        collectives=tuple(sent),
        roofline=roofline(ahead, plain, sent, place),
        buffers=tuple(ahead.buffers),
        advice=() if fits else tuple(_advice(config, ahead, memory, limit, place)),
        assumed=assumed,
        seconds=ahead.seconds,
    )


def _limit(ahead: Ahead, place: Topology) -> int:
    if ahead.limit is not None:
        return ahead.limit
    return device_memory() if place.chip is None else int(_SHARE * place.chip.memory)


def _model_flops(config: Config, dataset: Dataset, place: Topology, remat: dict[str, str]) -> float:
    """FLOPs of the step with nothing computed again and no micro-batches."""
    settings = [f"{path}=none" for path in remat] + ["train.gradient_accumulation_steps=1"]
    _, _, traced = trace(config_lib.override(config, settings), dataset, place)
    return flops.count(traced.jaxpr.jaxpr)


def _state(one: CompiledStep) -> float:
    kinds = ("parameters", "optimiser", "averaged parameters", "other variables")
    return float(sum(one.memory.get(kind, 0) for kind in kinds))


def _advice(
    config: Config, ahead: Ahead, memory: dict[str, int], limit: int, place: Topology
) -> list[Advice]:
    """What makes a step smaller, in the order in which it should be tried: each guessed to fit."""
    found: list[Advice] = []
    state = sum(size for kind, size in memory.items() if kind != "batch")
    ways = list(candidates(config, place.devices))
    guess = Guess(limit, state * ahead.trainer.mesh.shape["fsdp"])
    own = ways[0]
    guess.learn(own, max(ahead.needed - state, 1.0))
    same = [one for one in ways if one.sizes == own.sizes]
    kinds: list[tuple[str, list[Candidate]]] = [
        ("compute the layers' activations again in the backward pass",
         [one for one in same if one.micro == own.micro and one.remat == "full"]),
        ("work the batch off in micro-batches",
         [one for one in same if one.remat == "own" and one.micro > own.micro]),
        ("compute activations again, and work the batch off in micro-batches",
         [one for one in same if one.remat == "full" and one.micro > own.micro]),
        ("split the state over more devices",
         [one for one in ways if one.micro == own.micro and one.remat == "own"]),
        ("split the state, compute activations again, and use micro-batches", ways),
    ]  # fmt: skip
    for what, several in kinds:
        best = min((one for one in several if guess.fits(one)), key=guess.takes, default=None)
        if best is not None and best.settings not in [one.settings for one in found]:
            found.append(Advice(what, best.settings))
    if not found:
        rows = [axis for axis in BATCH_AXES if ahead.trainer.mesh.shape[axis] > 1]
        found.append(
            Advice(
                f"nothing of the same batch is guessed to fit: a smaller data.batch_size (now "
                f"{config.data.batch_size}, over {' x '.join(rows) or 'one device'}), model, or a "
                "larger topology",
                (),
            )
        )
    if config.model.dtype == "float32" and place.chip is not None:
        found.append(Advice("compute in half the bytes", ("model.dtype=bfloat16",)))
    return found


def with_settings(config: Config, settings: tuple[str, ...]) -> Config:
    """The config that a `CompiledStep` or `Advice` is of."""
    return dataclasses.replace(config_lib.override(config, settings))
