"""What each way of fine-tuning gives on EMOJI groups from a tenth of the labels, and its cost.

    python -m benchmarks.strategies start --runs RUNS               # the picture encoder, once
    python -m benchmarks.strategies todo --lines LINES              # what is left to train
    python -m benchmarks.strategies train lora --seeds 0 1 2 --runs RUNS --lines LINES
    python -m benchmarks.strategies table LINES ...                 # results/strategies.{json,md}

Two pretrained encoders: MiniLM, and a picture encoder that learnt from names and drawings of all
training concepts without their groups (`configs/pretrain_emoji_minilm.py`). Fusion and head are
new. Every way trains on the same 128 labels with the same budget, keeps the checkpoint that
validation concepts chose, and learns with three learning rates on the first seed (the documented
one times `FACTORS`); the one that is best on validation is taken for the others. Test concepts have
no part in either choice. `todo` prints a line of arguments of `train` for each process, such as for
`xargs`; once the first seed is there, those of the others.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import runpy
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.finetune_emoji import GROUP, METRICS
from benchmarks.gathered import Record, append, gather, write_table
from benchmarks.machine import about
from benchmarks.pretrain_table import cell
from mmjax.api.run import load_run
from mmjax.api.souping import soup
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.data import manifest
from mmjax.data.dataset import Dataset
from mmjax.data.pipeline import prepare
from mmjax.data.splits import make_splits, thinned
from mmjax.train import adapting
from mmjax.train.config import Config, InitConfig
from mmjax.train.other_run import processor_folders
from mmjax.train.trained import trained
from mmjax.train.trainer import Trainer, finished, fit
from mmjax.train.warm_start import with_encoders
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHARE, STEPS, SEEDS, FACTORS = 0.1, 800, (0, 1, 2), (0.3, 1.0, 3.0)
KEY = ("way", "seed", "factor")

TEXT, IMAGE, ADAPTERS = "^/encoders_text/", "^/encoders_image/", "^/adapt/"
BIASES = r"^/encoders_.*/bias$"
NORMS = r"^/encoders_.*(norm(_\d+)?/(scale|bias)|_scale)$"
QUERIES = ("^encoders_text/.*/(query|value)$",)
WHOLE = {TEXT: 0.05, IMAGE: 0.25}


@dataclasses.dataclass(frozen=True)
class Way:
    """A way of training. Rates are shares of the learning rate of fusion and head, 2e-3."""

    told: str
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By pattern; a `--factor` multiplies them, or the learning rate where there are none."""
    adapt: Spec | None = None
    still: tuple[str, ...] = ()
    """Patterns of what is frozen besides."""
    settings: tuple[str, ...] = ()
    factors: tuple[float, ...] = FACTORS
    """Of which validation chooses."""
    soup: bool = False
    """Whether it is a greedy soup of runs with all `FACTORS`."""


def adapter(told: str, rate: float, adapt: Spec) -> Way:
    """An adapter of the text encoder; the picture encoder is frozen."""
    return Way(told, {ADAPTERS: rate}, adapt, (IMAGE,))


WAYS: Mapping[str, Way] = {
    "full": Way("all parameters", WHOLE),
    "heads": Way(
        "head alone (linear)", adapt=Spec("only", parts=("heads",)), factors=(1.0, 3.0, 10.0, 30.0)
    ),
    "frozen": Way("head and fusion", adapt=Spec("only", parts=("heads", "fusion"))),
    "upper_half": Way(
        "upper half of MiniLM",
        WHOLE,
        still=(
            "/encoders_text/(words|positions|segments|embeddings_norm)/",
            "/encoders_text/.*/layer_[012]/",
        ),
    ),
    "biases": Way(
        "biases (BitFit)", {BIASES: 0.5}, Spec("only", parts=("heads", "fusion", "biases"))
    ),
    "norms": Way("norms", {NORMS: 0.5}, Spec("only", parts=("heads", "fusion", "norms"))),
    "lora": adapter("LoRA", 0.25, Spec("lora", rank=8, targets=QUERIES)),
    "rslora": adapter("rsLoRA", 0.25, Spec("lora", rank=8, rank_stabilized=True, targets=QUERIES)),
    "dora": adapter("DoRA", 0.25, Spec("lora", rank=8, dora=True, targets=QUERIES)),
    "adalora": adapter("AdaLoRA", 0.5, Spec("adalora", rank=12, target=8, targets=QUERIES)),
    "houlsby": adapter(
        "bottleneck, Houlsby",
        0.25,
        Spec("bottleneck", form="houlsby", width=8, within=("^encoders_text/",)),
    ),
    "pfeiffer": adapter(
        "bottleneck, Pfeiffer",
        0.25,
        Spec("bottleneck", form="pfeiffer", width=16, within=("^encoders_text/",)),
    ),
    "parallel": adapter(
        "bottleneck, parallel",
        0.25,
        Spec("bottleneck", form="parallel", width=16, within=("^encoders_text/",)),
    ),
    "ia3": adapter("IA3", 1.5, Spec("ia3", targets=(r"^encoders_text/.*/(key|value|mlp/down)$",))),
    "prefix": adapter("prefix", 1.0, Spec("prefix", count=8)),
    "prompt": adapter("prompt", 1.0, Spec("prompt", count=8)),
    "gradual": Way("all, unfrozen gradually", WHOLE, Spec("gradual", every=0.1)),
    "layer_decay": Way(
        "all, layer-wise decay 0.75", {TEXT: 0.1, IMAGE: 0.5}, Spec("layer_decay", rate=0.75)
    ),
    "no_ema": Way("all, no EMA", WHOLE, settings=("train.ema_decay=0",)),
    "r_drop": Way("all, R-Drop", WHOLE, settings=("model.r_drop=1.0",)),
    "mixup": Way("all, mixup", WHOLE, settings=("model.mixup=0.2",)),
    "sam": Way("all, SAM", WHOLE, settings=("optimizer.sam=0.05",)),
    "soup": Way("all, greedy soup of three rates", WHOLE, factors=(1.0,), soup=True),
    "swa": Way("all, SWA", WHOLE, settings=("train.ema_decay=0", "train.average_from=50%")),
}


def configured(name: str, *, seed: int, factor: float, steps: int, start: Path | None) -> Config:
    """The config of a way, with encoders of their folder and of the run `start`."""
    way = WAYS[name]
    made = runpy.run_path(str(ROOT / "configs" / "quickstart_minilm.py"))["get_config"]()
    multipliers = dict.fromkeys(way.still, 0.0)
    multipliers |= {pattern: rate * factor for pattern, rate in way.rates.items()}
    rate = made.optimizer.learning_rate * (1.0 if way.rates else factor)
    text = made.data.modalities["text"]
    every = f"{max(1, steps // 20)} steps"
    return config_lib.override(
        dataclasses.replace(
            made,
            # One length is one program to compile.
            data=dataclasses.replace(
                made.data, modalities={**made.data.modalities, "text": text.replace(lengths=())}
            ),
            optimizer=dataclasses.replace(
                made.optimizer, learning_rate=rate, multipliers=multipliers
            ),
            train=dataclasses.replace(
                made.train,
                duration=f"{steps} steps",
                evaluate_every=every,
                save_every=f"{steps} steps",
                log_every=every,
                keep_last=1,
                single_modality_baselines=False,
            ),
            init=start
            and InitConfig(
                run=str(start), include=("encoders_image",), modalities={"image": "image"}
            ),
            adapt={} if way.adapt is None else {"way": way.adapt},
            seed=seed,
        ),
        way.settings,
    )


def few(config: Config) -> Dataset:
    """The data with a tenth of the training labels, which depend on the seed."""
    table, _ = manifest.load(config.data)
    splits = make_splits(table, config.data.split, GROUP)
    known = thinned(splits, table, SHARE, column=GROUP, seed=config.seed)
    return prepare(config.data, splits=known, taken=processor_folders(config))


def cost(config: Config, dataset: Dataset) -> Record:
    """Parameters, those that are trained, and the bytes of the optimiser."""
    built = Trainer.build(config, dataset)
    state = built.plan.abstract
    moving = trained(state.params, adapting.frozen_in(config, state.params))
    return {
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)),
        "trained": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(moving)),
        "optimizer_bytes": sum(
            math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.opt_state)
        ),
    }


def measure(config: Config, folder: Path, more: Sequence[Config] = ()) -> Record:
    """Trains, and evaluates on what was held out; the run is not kept.

    With `more` configs, a greedy soup of all.
    """
    start, clock = time.perf_counter(), time.process_time()
    config = with_encoders(config)
    dataset = few(config)
    found = cost(config, dataset)
    shutil.rmtree(folder, ignore_errors=True)
    if more:
        parts = [folder / str(index) for index in range(1 + len(more))]
        for part, one in zip(parts, (config, *map(with_encoders, more)), strict=True):
            fit(one, part, dataset=dataset, title=f"{folder.name} {part.name}")
        run = soup(parts, folder / "soup", method="greedy")
    else:
        fit(config, folder, dataset=dataset, title=folder.name)
        run = load_run(folder)
    for split in ("validation", "test"):
        every = run.evaluate(split=split)
        found[split] = {name: every[name] for name in METRICS}
    shutil.rmtree(folder)
    return {
        "labels": len(dataset.splits["train"]),
        **found,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - clock, 1),
    }


def pretrain(folder: Path, settings: Sequence[str]) -> None:
    """The run that gives the picture encoder, unless it is there."""
    if not finished(RunFolder(folder)):
        config = config_lib.load(ROOT / "configs" / "pretrain_emoji_minilm.py")
        fit(config_lib.override(config, settings), folder, resume=True, title="pretrain")


def best_factor(records: Sequence[Record]) -> float:
    """The factor whose runs of the first seed are best on validation; of equals the nearest to 1.

    By accuracy, then macro-F1.
    """
    first = [one for one in records if one["seed"] == SEEDS[0]]
    return max(
        first,
        key=lambda one: (*(one["validation"][m] for m in METRICS), -abs(math.log(one["factor"]))),
    )["factor"]


def todo(records: Sequence[Record], ways: Sequence[str]) -> list[str]:
    """Arguments of `train` for what is left."""
    lines = []
    for name in ways:
        own = [one for one in records if one["way"] == name]
        there = {(one["seed"], one["factor"]) for one in own}
        left = [factor for factor in WAYS[name].factors if (SEEDS[0], factor) not in there]
        if left:
            lines.append(f"{name} --seeds {SEEDS[0]} --factors {' '.join(map(str, left))}")
            continue
        factor = best_factor(own)
        seeds = [seed for seed in SEEDS if (seed, factor) not in there]
        if seeds:
            lines.append(f"{name} --seeds {' '.join(map(str, seeds))} --factors {factor}")
    return lines


def chosen(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of each way with the factor that validation chose."""
    found = {}
    for name in WAYS:
        own = [one for one in records if one["way"] == name]
        if any(one["seed"] == SEEDS[0] for one in own):
            factor = best_factor(own)
            found[name] = sorted(
                (one for one in own if one["factor"] == factor), key=lambda one: one["seed"]
            )
    return found


def to_markdown(result: Mapping[str, Any]) -> str:
    """A line a way, and below it how it was measured."""
    lines = [
        "| trained | validation accuracy | test accuracy | test macro-F1 | parameters | share "
        "| optimiser | seconds | rate |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rows = chosen(result["runs"])
    for name, runs in rows.items():
        first = runs[0]
        scores = [
            cell([run[split][metric] for run in runs])
            for split, metric in (
                ("validation", "accuracy"),
                ("test", "accuracy"),
                ("test", "macro_f1"),
            )
        ]
        seconds = statistics.median(run["seconds"] for run in runs)
        own = [run for run in result["runs"] if (run["way"], run["seed"]) == (name, SEEDS[0])]
        tried = len({run["factor"] for run in own})
        alone = f" of {tried} tried" if tried < len(WAYS[name].factors) else ""
        lines.append(
            f"| {WAYS[name].told} | {' | '.join(scores)} | {first['trained']:,} "
            f"| {first['trained'] / first['parameters']:.2%} "
            f"| {first['optimizer_bytes'] / 2**20:.2f} MiB | {seconds:.0f} "
            f"| x{first['factor']:g}{alone} |"
        )
    some = next(iter(rows.values()))[0]
    seeds = sorted({run["seed"] for runs in rows.values() for run in runs})
    told = (
        f"EMOJI groups from {some['labels']} labels ({SHARE:.0%} of the training concepts), "
        f"{some['steps']} steps of 32 rows, 389 test concepts, which alone leave an accuracy of "
        "0.7 an interval of ± 0.046 (95 %). Mean ± sample standard deviation "
        f"over seeds {', '.join(map(str, seeds))}. Fusion and head learn in every line but the "
        "second, where the head alone does; adapters are those of MiniLM, the picture encoder is "
        "frozen beside them. LoRA has rank 8; AdaLoRA begins with 12 a layer and ends with 8. "
        f"`rate`: the learning rate, of {', '.join(f'x{f:g}' for f in FACTORS)} (of the head alone "
        f"{', '.join(f'x{f:g}' for f in WAYS['heads'].factors)}), that validation "
        "chose on the first seed. Seconds are wall time of a whole run with data, compilation and "
        f"evaluations beside other runs on the same machine, the median. {result['device']}, "
        f"{result['cores']} cores of {result['cpu']}, jax {result['versions']['jax']}, "
        f"{result['date']}: `python -m benchmarks.strategies`."
    )
    apart = [
        f"{one['test']['accuracy'] - other['test']['accuracy']:+.3f}"
        for one, other in zip(rows.get("adalora", ()), rows.get("lora", ()), strict=False)
    ]
    beside = f"AdaLoRA less LoRA on the test concepts, seed by seed: {', '.join(apart) or '-'}."
    return "\n".join([*lines, "", told, "", beside, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.strategies", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("start", help="train the picture encoder")
    one.add_argument("settings", nargs="*", metavar="dotted.key=value")
    one.add_argument("--runs", type=Path, required=True)
    one = commands.add_parser("train", help="train one way")
    one.add_argument("way", choices=WAYS)
    one.add_argument("--seeds", type=int, nargs="+", default=[0])
    one.add_argument("--factors", type=float, nargs="+", default=[1.0])
    one.add_argument("--steps", type=int, default=STEPS)
    one.add_argument("--runs", type=Path, required=True, help="where `start` left its run")
    one.add_argument("--lines", type=Path, required=True, help="a line a run is appended here")
    one = commands.add_parser("todo", help="print what is left to train")
    one.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    one.add_argument("--lines", type=Path, nargs="+", required=True)
    one = commands.add_parser("table", help="write the results")
    one.add_argument("lines", type=Path, nargs="+")
    one.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    if args.command == "start":
        pretrain(args.runs / "pretraining", args.settings)
    elif args.command == "train":
        start = args.runs / "pretraining"
        for seed in args.seeds:
            for factor in args.factors:
                known = {"seed": seed, "factor": factor, "steps": args.steps}
                config = configured(args.way, start=start, **known)
                others = [f for f in FACTORS if f != factor] if WAYS[args.way].soup else []
                more = [configured(args.way, start=start, **{**known, "factor": f}) for f in others]
                found = measure(config, args.runs / f"{args.way}_{seed}_{factor:g}", more)
                append(args.lines, {"way": args.way, **known, **about(), **found})
                say({"way": args.way, **known, **found})
    elif args.command == "todo":
        for line in todo(gather(args.lines, KEY), args.ways):
            say(line)
    else:
        say(write_table("strategies", args.lines, KEY, args.out, to_markdown))


if __name__ == "__main__":
    main()
