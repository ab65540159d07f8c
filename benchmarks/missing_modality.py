"""What is lost when a modality is taken away at test time, by what training did against it.

    python -m benchmarks.missing_modality todo --lines LINES          # what is left to train
    python -m benchmarks.missing_modality train quickstart both --seeds 0 1 2 --lines LINES
    python -m benchmarks.missing_modality table LINES ...   # results/missing_modality.{json,md}

EMOJI (`configs/quickstart.py`, text and picture) and AV-MNIST (`configs/av_mnist.py`, picture and
sound). The plain model has neither modality dropout nor losses of each modality alone. The chance
that modality dropout hides a modality is chosen on validation rows of the first seed, of `RATES`,
by the mean accuracy over all subsets of the modalities but the empty one; each checkpoint by the
accuracy with all of them. Test rows are read with every subset, and have no part in any choice.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gathered import Record, append, gather, write_table
from benchmarks.machine import about
from benchmarks.pretrain_table import cell
from mmjax.api.run import Run, load_run
from mmjax.api.subsets import all_subsets
from mmjax.api.training import single_modality
from mmjax.core import config as config_lib
from mmjax.train.config import Config
from mmjax.train.trainer import fit
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SEEDS, RATES = (0, 1, 2), (0.2, 0.4)
SPLITS = ("validation", "test")
KEY = ("data", "arm", "seed", "rate")
SETS = {
    "quickstart": ("EMOJI", "quickstart", ()),
    "av_mnist": ("AV-MNIST", "av_mnist", ()),
    "av_mnist_clear": (
        "AV-MNIST without noise",
        "av_mnist",
        ("data.source.image_noise=0", "data.source.sound_noise=0"),
    ),
}
"""What the data is called, the config, and changes of it."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """What training does against rows that lack a modality."""

    told: str
    drops: bool = False
    """Whether modalities are hidden in training."""
    settings: tuple[str, ...] = ()


TOKENS, ALONE = "model.missing_tokens=true", "model.auxiliary_loss={}"
ARMS: Mapping[str, Arm] = {
    "plain": Arm("plain"),
    "dropout": Arm("modality dropout", drops=True),
    "tokens": Arm("missing tokens, no row lacking a modality in training", settings=(TOKENS,)),
    "both": Arm("modality dropout and missing tokens", drops=True, settings=(TOKENS,)),
    "alone": Arm("losses of each modality alone", settings=(ALONE.format(1.0),)),
    "all": Arm("all three", drops=True, settings=(ALONE.format(1.0), TOKENS)),
    "only": Arm("trained without it: a model of the other alone"),
}


def rates_of(arm: str) -> tuple[float, ...]:
    return RATES if ARMS[arm].drops else (0.0,)


def configured(data: str, arm: str, *, seed: int, rate: float, settings: Sequence[str]) -> Config:
    _, name, changes = SETS[data]
    return config_lib.override(
        config_lib.load(ROOT / "configs" / f"{name}.py"),
        [
            *changes,
            "train.single_modality_baselines=false",
            "model.auxiliary_loss=0.0",
            f"model.modality_dropout={rate}",
            f"seed={seed}",
            *ARMS[arm].settings,
            *settings,
        ],
    )


def scores(run: Run, split: str) -> dict[str, float]:
    """Accuracy with each subset of the modalities but the empty one, by names joined with "+"."""
    found = all_subsets(run, split=split)
    return {"+".join(one): found.scores[one]["accuracy"] for one in found.scores if one}


def measure(config: Config, folder: Path, *, together: bool) -> Record:
    """Trains, and evaluates with every subset of the modalities; the run is not kept.

    A model of each modality alone unless `together`.
    """
    start, clock = time.perf_counter(), time.process_time()
    shutil.rmtree(folder, ignore_errors=True)
    found: dict[str, dict[str, float]] = {split: {} for split in SPLITS}
    if together:
        fit(config, folder, title=folder.name)
        found = {split: scores(load_run(folder), split) for split in SPLITS}
    else:
        for name in config.model.encoders:
            fit(single_modality(config, name), folder / name, title=f"{name} alone")
            for split in SPLITS:
                found[split][name] = load_run(folder / name).evaluate(split=split)["accuracy"]
    shutil.rmtree(folder)
    return {
        "modalities": list(config.model.encoders),
        **found,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - clock, 1),
    }


def best_rate(records: Sequence[Record]) -> float:
    """The rate whose run of the first seed is best over all subsets of validation."""
    first = [one for one in records if one["seed"] == SEEDS[0]]
    return max(first, key=lambda one: statistics.mean(one["validation"].values()))["rate"]


def todo(records: Sequence[Record]) -> list[str]:
    """Arguments of `train` for what is left."""
    lines = []
    for data in SETS:
        for arm in ARMS:
            own = [one for one in records if (one["data"], one["arm"]) == (data, arm)]
            there = {(one["seed"], one["rate"]) for one in own}
            left = [rate for rate in rates_of(arm) if (SEEDS[0], rate) not in there]
            if left:
                lines.append(f"{data} {arm} --seeds {SEEDS[0]} --rates {' '.join(map(str, left))}")
                continue
            rate = best_rate(own)
            seeds = [seed for seed in SEEDS if (seed, rate) not in there]
            if seeds:
                lines.append(f"{data} {arm} --seeds {' '.join(map(str, seeds))} --rates {rate}")
    return lines


def chosen(records: Sequence[Record], data: str) -> dict[str, list[Record]]:
    """The runs of each arm with the rate that validation chose, in the order of their seeds."""
    found = {}
    for arm in ARMS:
        own = [one for one in records if (one["data"], one["arm"]) == (data, arm)]
        if any(one["seed"] == SEEDS[0] for one in own):
            rate = best_rate(own)
            kept = [one for one in own if one["rate"] == rate]
            found[arm] = sorted(kept, key=lambda one: one["seed"])
    return found


def losses(run: Record, split: str = "test") -> dict[str, float]:
    """What is lost without each modality: the accuracy with all minus that with the others."""
    names, found = run["modalities"], run[split]
    whole = found["+".join(names)]
    return {name: whole - found["+".join(n for n in names if n != name)] for name in names}


def of_plain(runs: Sequence[Record], plain: Sequence[Record]) -> dict[str, float]:
    """What is lost without each modality, as a share of what the plain model loses; means."""

    def mean(some: Sequence[Record], name: str) -> float:
        return statistics.mean(losses(run)[name] for run in some)

    return {name: mean(runs, name) / mean(plain, name) for name in plain[0]["modalities"]}


def to_markdown(result: Mapping[str, Any]) -> str:
    """A table a set, and below them how they were measured."""
    lines: list[str] = []
    for data, (told, *_) in SETS.items():
        rows = chosen(result["runs"], data)
        if not rows:
            continue
        names = next(iter(rows.values()))[0]["modalities"]
        heads = [f"without {name} | lost | of plain | short of alone" for name in names]
        lines += [
            f"| {told} | both | {' | '.join(heads)} |",
            f"|---|{'---:|' * (1 + 4 * len(names))}",
        ]
        for arm, runs in rows.items():
            rate = f" ({runs[0]['rate']:g})" if ARMS[arm].drops else ""
            cells = _cells(runs, rows.get("plain", ()), rows.get("only", ()), names)
            lines.append(f"| {ARMS[arm].told}{rate} | {' | '.join(cells)} |")
        lines.append("")
    seeds = sorted({run["seed"] for run in result["runs"]})
    seconds = statistics.median(run["seconds"] for run in result["runs"])
    lines.append(
        "Test accuracy with both modalities and with one of them; `of plain`: what is lost as a "
        "share of what the plain model loses; `short of alone`: how far that is below a model of "
        "the other modality alone, which is what training could win back. In brackets the chance "
        "of modality dropout, which "
        f"validation chose of {', '.join(f'{rate:g}' for rate in RATES)}. Mean ± sample standard "
        f"deviation over seeds {', '.join(map(str, seeds))}; {seconds:.0f} seconds a run (median), "
        f"several at once. {result['device']}, {result['cores']} cores of {result['cpu']}, jax "
        f"{result['versions']['jax']}, {result['date']}: `python -m benchmarks.missing_modality`."
    )
    return "\n".join([*lines, ""])


def _cells(
    runs: Sequence[Record], plain: Sequence[Record], only: Sequence[Record], names: Sequence[str]
) -> list[str]:
    """With all; of each modality without it, what is lost, its share of plain's, and how far that
    is below a model of the others alone."""
    whole = "+".join(names)
    shares = of_plain(runs, plain) if plain and whole in runs[0]["test"] else {}
    cells = [cell([run["test"][whole] for run in runs if whole in run["test"]])]
    for name in names:
        rest = "+".join(n for n in names if n != name)
        found = [run["test"][rest] for run in runs]
        lost = [losses(run)[name] for run in runs if whole in run["test"]]
        cells += [cell(found), cell(lost), f"{shares[name]:.0%}" if shares else ""]
        alone = [run["test"][rest] for run in only]
        short = statistics.mean(alone) - statistics.mean(found) if alone and lost else None
        cells.append("" if short is None else f"{short:.3f}")
    return cells


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.missing_modality", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("train", help="train one arm on one set")
    one.add_argument("data", choices=SETS)
    one.add_argument("arm", choices=ARMS)
    one.add_argument("settings", nargs="*", metavar="dotted.key=value")
    one.add_argument("--seeds", type=int, nargs="+", default=[0])
    one.add_argument("--rates", type=float, nargs="+")
    one.add_argument("--runs", type=Path, required=True, help="runs lie here while they train")
    one.add_argument("--lines", type=Path, required=True, help="a line a run is appended here")
    one = commands.add_parser("todo", help="print what is left to train")
    one.add_argument("--lines", type=Path, nargs="+", required=True)
    one = commands.add_parser("table", help="write the results")
    one.add_argument("lines", type=Path, nargs="+")
    one.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    if args.command == "train":
        for seed in args.seeds:
            for rate in args.rates or rates_of(args.arm):
                known = {"seed": seed, "rate": rate}
                config = configured(args.data, args.arm, **known, settings=args.settings)
                folder = args.runs / f"{args.data}_{args.arm}_{seed}_{rate:g}"
                found = measure(config, folder, together=args.arm != "only")
                append(
                    args.lines, {"data": args.data, "arm": args.arm, **known, **about(), **found}
                )
                say({"data": args.data, "arm": args.arm, **known, **found})
    elif args.command == "todo":
        for line in todo(gather(args.lines, KEY)):
            say(line)
    else:
        say(write_table("missing_modality", args.lines, KEY, args.out, to_markdown))


if __name__ == "__main__":
    main()
