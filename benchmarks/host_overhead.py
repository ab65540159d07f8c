"""What the host costs a step of the quickstart at steady state: input, dispatch, and what is left.

python -m benchmarks.host_overhead

The trainer's own step and loader, as `mmjax train configs/quickstart.py` makes them, in a loop like
its own: a batch is taken, put on the device, and the step is started; results are read every
`train.log_every` steps. `input wait` is the wall time of `next(loader)`; putting a batch on
the device and starting a step, which are the dispatch, the processor time of the main thread, so
that waiting for the step before, which is no cost of the host, does not count (what XLA computes in
the calling thread does, on a CPU). All are medians over steps, since
other programs on the machine take the main thread's turn now and then, and are held against the
processor time of a step.

The loader alone and the step alone are timed in processor seconds of the whole process, with no
thread ahead: how many times faster the one is than the other.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import timing
from benchmarks.harness import RESULTS
from benchmarks.machine import about
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.data.dataset import Dataset
from mmjax.data.pipeline import prepare
from mmjax.parallel.sharding import put_batch
from mmjax.train.trainer import Trainer, load
from mmjax.writers.console import say

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "quickstart.py"
MOST_OVERHEAD = 0.02
LEAST_RATIO = 3.0


def loop(trainer: Trainer, dataset: Dataset, steps: int, every: int) -> dict[str, float]:
    """Medians over steps of what the main thread spends: on input, on dispatch, in all."""
    waits: list[float] = []
    puts: list[float] = []
    starts: list[float] = []
    pending: list[Any] = []
    with load(dataset, "train", trainer.mesh, train=True, seed=0) as loader:
        for step in range(-every, steps):
            if step == 0:
                whole = time.process_time()
                waits, puts, starts = [], [], []
            began = time.perf_counter()
            batch = next(loader)
            waits.append(time.perf_counter() - began)
            began = time.thread_time()
            placed = put_batch(batch, trainer.mesh)
            puts.append(time.thread_time() - began)
            began = time.thread_time()
            trainer.state, values = trainer.step(trainer.state, placed)
            starts.append(time.thread_time() - began)
            pending.append(values)
            if (step + 1) % every == 0:
                jax.device_get(pending)
                pending = []
    jax.block_until_ready(trainer.state)
    return {
        "all": (time.process_time() - whole) / steps,
        "input wait": statistics.median(waits),
        "put": statistics.median(puts),
        "start": statistics.median(starts),
    }


def alone(trainer: Trainer, dataset: Dataset, rounds: int) -> tuple[list[float], list[float]]:
    """Processor seconds of a batch of the loader, and of a step, round by round."""
    config = dataclasses.replace(dataset.config, threads=0, workers=0)
    loader = dataclasses.replace(dataset, config=config).loader("train", train=True)
    placed = put_batch(next(loader), trainer.mesh)

    def step() -> Any:
        trainer.state, values = trainer.step(trainer.state, placed)
        return values

    variants = [
        timing.Variant("loader", lambda: next(loader), wait=lambda _: None),
        timing.Variant("step", step),
    ]
    with loader:
        loading, stepping = timing.interleaved(variants, rounds, least_seconds=0.3)
    return loading, stepping


def measure(steps: int, rounds: int) -> dict[str, Any]:
    config = config_lib.load(CONFIG)
    dataset = prepare(config.data)
    trainer = Trainer.build(config, dataset)
    trainer.begin()
    found = loop(trainer, dataset, steps, trainer.periods.log)
    with dataset.loader("train", train=True) as loader:
        placed = next(loader)
    loading, stepping = alone(trainer, dataset, rounds)
    ratios = [b / a for a, b in zip(loading, stepping, strict=True)]
    low, middle, high = timing.quartiles(ratios)
    step = timing.quartiles(stepping)[1]
    return {
        "steps": steps,
        "every": trainer.periods.log,
        "step_and_loader_seconds": found["all"],
        "input_wait_seconds": found["input wait"],
        "put_seconds": found["put"],
        "start_seconds": found["start"],
        "arrays": [len(jax.tree.leaves(tree)) for tree in (trainer.state, placed)],
        "overhead": (found["input wait"] + found["put"] + found["start"]) / step,
        "loader_alone_seconds": timing.quartiles(loading)[1],
        "step_alone_seconds": step,
        "step_over_loader": {"median": middle, "quartiles": [low, high], "rounds": rounds},
    }


def to_markdown(result: dict[str, Any]) -> str:
    ratio = result["step_over_loader"]
    low, high = ratio["quartiles"]
    state, batch = result["arrays"]
    rows = [
        ("step alone, processor", f"{result['step_alone_seconds'] * 1e3:.1f} ms", ""),
        ("loader alone, processor", f"{result['loader_alone_seconds'] * 1e3:.2f} ms", ""),
        ("input wait, wall", f"{result['input_wait_seconds'] * 1e3:.3f} ms", ""),
        (f"{batch} arrays put on the device", f"{result['put_seconds'] * 1e3:.3f} ms", ""),
        (f"a step started, {state} arrays", f"{result['start_seconds'] * 1e3:.3f} ms", ""),
        ("these three, of a step", f"{result['overhead']:.2%}", f"below {MOST_OVERHEAD:.0%}"),
        (
            "times the loader is faster",
            f"{ratio['median']:.1f} ({low:.1f}-{high:.1f})",
            f"at least {LEAST_RATIO:g}",
        ),
    ]
    lines = ["| configs/quickstart.py, batches of 32 | measured | asked |", "|---|---:|---:|"]
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
