"""What the host costs a step of the quickstart at steady state: input, dispatch, and what is left.

python -m benchmarks.host_overhead

The trainer's own step and loader, as `mmjax train configs/quickstart.py` makes them, in a loop like
its own: a batch is taken and the step is started on it; results are read every `train.log_every`
steps. `input wait` is the wall time of `next(loader)`; handing a batch over and starting a step,
which are the dispatch, the processor time of the main thread, so
that waiting for the step before, which is no cost of the host, does not count (what XLA computes in
the calling thread does, on a CPU). All are medians over steps, since
other programs on the machine take the main thread's turn now and then, and are held against the
processor time of a step; and against its wall time in the loop, which on a CPU several cores share,
and on an accelerator is all that counts.

Three ways of it take turns: `each` passes and puts each array by itself, as on a mesh of several
devices; `packed` is a step a program on one device (`mmjax.train.stepping`: small arrays in one
vector a dtype, batches handed over as NumPy's arrays); and `several` is that with as many steps a
program as the config says (`train.steps_per_call`), which is how it is trained.

With a step a program what is left is the start of one: 0.5 ms on two quiet cores, of which a
program of the same arrays that computes nothing takes a tenth. Neither larger arrays in the vectors
as well (0.51 for 0.56 ms, and a step that takes 3 % longer) nor arguments that are not donated nor
batches that are on the device already made a difference: hence several steps a program.

The loader alone and the step alone are timed in processor seconds of the whole process, with no
thread ahead: how many times faster the one is than the other.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from benchmarks.harness import RESULTS
from benchmarks.machine import about
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.core.types import Batch
from mmjax.data.loader import Loader
from mmjax.data.pipeline import prepare
from mmjax.parallel.sharding import put_batch
from mmjax.train.loading import ahead_of, load
from mmjax.train.packed import pack
from mmjax.train.stepping import Stepping, Within, feed
from mmjax.train.trainer import Trainer
from mmjax.writers.console import say

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart.py"
MOST_OVERHEAD = 0.02
LEAST_RATIO = 3.0


class Each:
    """Arrays one by one."""

    count = 1
    """Steps a program."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def feed(self, batches: Sequence[Batch]) -> Any:
        return put_batch(*batches, self.trainer.mesh)

    def take(self, fed: Any) -> Any:
        trainer = self.trainer
        trainer.state, values = trainer.step(trainer.state, fed)
        return values

    def arrays(self) -> int:
        return len(jax.tree.leaves(self.trainer.state))


class Packed(Each):
    """A step a program."""

    def __init__(self, trainer: Trainer):
        super().__init__(trainer)
        start = jax.device_put(jax.tree.map(np.array, trainer.state), trainer.plan.shardings)
        self.stepping = Stepping(trainer.step, start, trainer.mesh, self.count)

    def feed(self, batches: Sequence[Batch]) -> Any:
        return feed(batches, self.trainer.mesh, self.count)

    def take(self, fed: Any) -> Any:
        told = self.stepping.take_fed(fed, self.count)[0]
        return told.several if isinstance(told, Within) else told

    def arrays(self) -> int:
        packed = pack(self.stepping.state, join=lambda parts: np.concatenate(jax.device_get(parts)))
        return len(jax.tree.leaves(packed))


class Several(Packed):
    """As the trainer takes its steps."""

    @property
    def count(self) -> int:
        return self.trainer.config.train.steps_per_call


WAYS = {"each": Each, "packed": Packed, "several": Several}


def loop(way: Each, loader: Loader, steps: int) -> dict[str, list[float]]:
    """Seconds of each step that the main thread spends on input and on dispatch; then it reads."""
    found: dict[str, list[float]] = {"input wait": [], "put": [], "start": []}
    pending: list[Any] = []
    whole = time.perf_counter()
    for _ in range(steps // way.count):
        began = time.perf_counter()
        batches = [next(loader) for _ in range(way.count)]
        found["input wait"].append((time.perf_counter() - began) / way.count)
        began = time.thread_time()
        fed = way.feed(batches)
        found["put"].append((time.thread_time() - began) / way.count)
        began = time.thread_time()
        pending.append(way.take(fed))
        found["start"].append((time.thread_time() - began) / way.count)
    jax.device_get(pending)
    found["wall"] = [(time.perf_counter() - whole) / steps]
    return found


def alone(trainer: Trainer, ways: dict[str, Each], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of a batch of the loader, and of a step each way, round by round."""
    config = dataclasses.replace(trainer.dataset.config, threads=0, workers=0)
    loader = dataclasses.replace(trainer.dataset, config=config).loader("train", train=True)
    batch = next(loader)

    def stepping(way: Each) -> Callable[[], Any]:
        fed = way.feed([batch] * way.count)
        return lambda: way.take(fed)

    variants = [timing.Variant("loader", lambda: next(loader), wait=lambda _: None)]
    variants += [timing.Variant(name, stepping(way)) for name, way in ways.items()]
    with loader:
        found = timing.interleaved(variants, rounds, least_seconds=0.3)
    counts = [1, *(way.count for way in ways.values())]
    each = ([one / count for one in some] for some, count in zip(found, counts, strict=True))
    return dict(zip(["loader", *ways], each, strict=True))


def measure(steps: int, rounds: int) -> dict[str, Any]:
    config = config_lib.load(CONFIG)
    dataset = prepare(config.data)
    trainer = Trainer.build(config, dataset)
    trainer.begin()
    every = trainer.periods.log
    # What packs copies the state, before the other gives it away.
    ways = {name: way(trainer) for name, way in WAYS.items()}
    found: dict[str, list[dict[str, list[float]]]] = {name: [] for name in ways}
    ahead = ahead_of(config.train)
    with load(dataset, "train", trainer.mesh, train=True, seed=0, ahead=ahead) as loader:
        for _ in range(1 + max(steps // every, 1)):
            for name, way in ways.items():
                found[name].append(loop(way, loader, every))
    seconds = alone(trainer, ways, rounds)
    ratios = [b / a for a, b in zip(seconds["loader"], seconds["several"], strict=True)]
    low, middle, high = timing.quartiles(ratios)
    result: dict[str, Any] = {"steps": steps, "every": every}
    for name, way in ways.items():
        # The first stretch compiles.
        parts = {
            part: statistics.median(itertools.chain(*(one[part] for one in found[name][1:])))
            for part in ("input wait", "put", "start", "wall")
        }
        wall = parts.pop("wall")
        step = timing.quartiles(seconds[name])[1]
        result[name] = {
            **{f"{part.replace(' ', '_')}_seconds": value for part, value in parts.items()},
            "step_alone_seconds": step,
            "wall_seconds": wall,
            "arrays": way.arrays(),
            "steps_a_program": way.count,
            "overhead": sum(parts.values()) / step,
            "overhead_of_wall": sum(parts.values()) / wall,
        }
    with dataset.loader("train", train=True) as loader:
        result["batch_arrays"] = len(jax.tree.leaves(next(loader)))
    result["loader_alone_seconds"] = timing.quartiles(seconds["loader"])[1]
    result["step_over_loader"] = {"median": middle, "quartiles": [low, high], "rounds": rounds}
    return result


def to_markdown(result: dict[str, Any]) -> str:
    ratio = result["step_over_loader"]
    low, high = ratio["quartiles"]
    ways = [result[name] for name in WAYS]

    def row(name: str, part: str, asked: str = "", *, of: str = "{:.3f} ms", times: float = 1e3):
        return [name, *(of.format(way[part] * times) for way in ways), asked]

    fed, share = result["batch_arrays"], "{:.2%}"
    rows = [
        row("step alone, processor", "step_alone_seconds", of="{:.1f} ms"),
        row("step in the loop, wall", "wall_seconds", of="{:.1f} ms"),
        row("arrays of the training state", "arrays", of="{:.0f}", times=1),
        row("steps a program", "steps_a_program", of="{:.0f}", times=1),
        row("input wait, wall", "input_wait_seconds"),
        row(f"{fed} arrays of a batch handed over", "put_seconds"),
        row("a step started", "start_seconds"),
        row("these three, of a step", "overhead", f"below {MOST_OVERHEAD:.0%}", of=share, times=1),
        row("these three, of a step's wall time", "overhead_of_wall", of=share, times=1),
        ["loader alone, processor", "", "", f"{result['loader_alone_seconds'] * 1e3:.2f} ms", ""],
        [
            "times the loader is faster than the step",
            "",
            "",
            f"{ratio['median']:.1f} ({low:.1f}-{high:.1f})",
            f"at least {LEAST_RATIO:g}",
        ],
    ]
    lines = [
        "| configs/quickstart.py, batches of 32 | each array | packed | as trained | asked |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines += [
        "",
        f"{result['device']}, {result['cpu']}, {result['cores']} cores; {result['steps']} steps, "
        f"read every {result['every']}; medians of {ratio['rounds']} interleaved rounds, in "
        f"brackets their middle half. {versions}; {result['date']}, "
        f"load {result['load_average']}.",
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks.host_overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    result = {**about(), **measure(args.steps, args.rounds)}
    stem = "host_overhead"
    if jax.default_backend() != "cpu":
        stem += f"_{jax.default_backend()}"
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / f"{stem}.json", result)
    text = to_markdown(result)
    with atomic(args.out / f"{stem}.md") as file:
        file.write(text)
    say(text)


if __name__ == "__main__":
    main()
