"""What each way of training costs, against training all: weights, optimiser, a step.

python -m benchmarks.adapt

Text and image encoders of 12 layers each, a fusion and a head, batches of 2 (`SIZE`, as
`train_step`). The step is the trainer's own. Seconds are processor seconds of one core; rounds are
interleaved, each way in turn, and a ratio is that of the medians. Written to
`benchmarks/results/adapt.json` and `adapt.md`, what features that are kept save in
`adapt_kept.json` and `adapt_kept.md` (making them takes a forward pass a row, once). Biases,
prefix, DoRA and QLoRA were measured in a run of their own, beside LoRA and all, which is in
`adapt_more.json` and `adapt_more.md`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import harness, timing
from benchmarks.harness import restart_on_one_core
from benchmarks.machine import about
from benchmarks.train_step import LABELS, LETTERS, example
from mmjax.core.files import atomic, write_json
from mmjax.core.registry import Spec
from mmjax.models.config import ModelConfig
from mmjax.models.kept import Kept
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.train import adapting
from mmjax.train.config import Config, OptimizerConfig
from mmjax.train.optim import make_schedule
from mmjax.train.state import plan_state
from mmjax.train.step import make_step
from mmjax.train.trained import trained

SIZE = "b2-n64-i224-p16-d384-l12"
WORDS, FUSED, STEPS = 30_522, 128, 1000
LINEAR = ("^encoders_.*/(query|value)$",)
LORA = Spec("lora", rank=8, targets=LINEAR)
WAYS: Mapping[str, tuple[Spec, ...]] = {
    "all": (),
    "frozen encoders": (Spec("only", parts=("heads", "fusion")),),
    "features kept": (Spec("only", parts=("heads", "fusion")),),
    "biases": (Spec("only", parts=("heads", "fusion", "biases")),),
    "LoRA": (LORA,),
    "DoRA": (LORA.replace(dora=True),),
    "QLoRA, 4 bits": (LORA, Spec("quantized", form="nf4")),
    "QLoRA, 8 bits": (LORA, Spec("quantized", form="int8")),
    "AdaLoRA": (Spec("adalora", rank=12, target=8, targets=LINEAR),),
    "IA3": (Spec("ia3"),),
    "bottleneck (Pfeiffer)": (Spec("bottleneck", width=24),),
    "prefix": (Spec("prefix", count=8),),
}
"""The first is what the others are compared with."""
KEPT = "features kept"
"""Frozen encoders whose outputs were made before, as by `train.feature_cache`."""


class Way:
    """One way of training, compiled; the state is made anew for each round."""

    def __init__(self, specs: tuple[Spec, ...], size: str, *, kept: bool = False):
        _, n, side, patch, d, layers = harness.dimensions(size, LETTERS)
        blocks = {"width": d, "depth": layers, "heads": d // 64, "mlp_dim": 4 * d, "scan": True}
        encoders = {
            "text": Spec("text_transformer", **blocks, pooling="mean"),
            "image": Spec("vit", **blocks, patch=patch),
        }
        config = Config(
            model=ModelConfig(encoders=encoders, fusion=Spec("concat", width=FUSED)),
            optimizer=OptimizerConfig(learning_rate=1e-4),
            adapt={f"way_{number}": spec for number, spec in enumerate(specs)},
        )
        modalities = {
            "text": {"vocab_size": WORDS, "max_length": n},
            "image": {"image_size": (side, side)},
        }
        facts = {"modalities": modalities, "targets": {"label": {"num_labels": LABELS}}}
        module = adapting.build(config, facts)
        schedule = make_schedule(config.optimizer, STEPS, 0)
        rule = adapting.optimizer(config, schedule, STEPS)
        batch = example(size)
        mesh = make_mesh(MeshConfig(), jax.devices()[:1])
        self.plan = plan_state(module, rule, batch, mesh, seed=0, ema=False)
        still = adapting.frozen_in(config, self.plan.abstract.params)
        if kept:
            module = module.clone(encoders={name: Kept(width=d) for name in encoders})
            batch = dataclasses.replace(batch, inputs=dict.fromkeys(encoders, features(size)))
        step = make_step(
            module, rule, schedule, mesh, self.plan.shardings, frozen=still, total_steps=STEPS
        )
        self.batch = jax.device_put(batch)
        start = timing.clock()
        self.compiled = step.lower(self.plan.abstract, self.batch).compile()
        moving = trained(self.plan.abstract.params, still)
        memory = self.compiled.memory_analysis()
        self.facts = {
            "trained": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(moving)),
            "parameters": sum(
                math.prod(leaf.shape) for leaf in jax.tree.leaves(self.plan.abstract.params)
            ),
            "parameter_bytes": _bytes(self.plan.abstract.params),
            "optimizer_bytes": _bytes(self.plan.abstract.opt_state),
            "temp_bytes": getattr(memory, "temp_size_in_bytes", None),
            "compile_seconds": timing.clock() - start,
        }

    def seconds(self, steps: int) -> list[float]:
        """Of each step but the first."""
        state = self.plan.make()
        found = []
        for _ in range(steps + 1):
            start = timing.clock()
            state, values = self.compiled(state, self.batch)
            jax.block_until_ready((state, values))
            found.append(timing.clock() - start)
        if not bool(values["skipped_in_a_row"] == 0):
            raise RuntimeError("a step was not finite")
        return found[1:]


def features(size: str) -> dict[str, np.ndarray]:
    """Summaries of the rows, and the masks of their tokens."""
    b, n, _, _, d, _ = harness.dimensions(size, LETTERS)
    pooled = np.random.default_rng(1).standard_normal((b, d)).astype(np.float32)
    return {"pooled": pooled, "mask": np.ones((b, n), bool)}


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def measure(size: str, names: Sequence[str], rounds: int, steps: int) -> dict[str, Any]:
    ways = {name: Way(WAYS[name], size, kept=name == KEPT) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            seconds[name] += ways[name].seconds(steps)
    return {
        name: {**way.facts, "seconds": seconds[name], "median": statistics.median(seconds[name])}
        for name, way in ways.items()
    }


def to_markdown(result: Mapping[str, Any]) -> str:
    """A line a way, with ratios to training all."""
    whole = result["ways"]["all"]
    lines = [
        "| trained | parameters | share | weights | optimiser | share | step | faster "
        "| temporaries |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in result["ways"].items():
        share = one["trained"] / whole["parameters"]
        memory = one["optimizer_bytes"] / whole["optimizer_bytes"]
        lines.append(
            f"| {name} | {one['trained']:,} | {share:.2%} "
            f"| {one['parameter_bytes'] / 2**20:,.0f} MiB | {one['optimizer_bytes'] / 2**20:,.1f} "
            f"MiB | {memory:.2%} | {_told(one['median'])} | {whole['median'] / one['median']:.2f}x "
            f"| {one['temp_bytes'] / 2**20:,.0f} MiB |"
        )
    used = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    told = (
        f"Size {result['size']}; processor seconds of one core of a {result['cpu']}, medians of "
        f"{len(whole['seconds'])} steps in {result['rounds']} rounds. {used}; {result['date']}, "
        f"load {result['load_average']}."
    )
    return "\n".join([*lines, "", told, ""])


def _told(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds > 0.1 else f"{1000 * seconds:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default=SIZE)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="of a round, besides the first")
    parser.add_argument("--out", default="benchmarks/results/adapt")
    args = parser.parse_args()
    restart_on_one_core()
    result = {
        **about(),
        "size": args.size,
        "rounds": args.rounds,
        "ways": measure(args.size, args.ways, args.rounds, args.steps),
    }
    write_json(f"{args.out}.json", result)
    with atomic(f"{args.out}.md", "w") as file:
        file.write(to_markdown(result))


if __name__ == "__main__":
    main()
