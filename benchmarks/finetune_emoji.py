"""What pretraining is worth on EMOJI when few labels are known.

python -m benchmarks.finetune_emoji --seeds 0 1 2
python -m benchmarks.finetune_emoji --share 0.1 --steps 1600 --pretrain configs/pretrain_emoji.py

A run learns from names and drawings of all 1,283 training concepts, without their groups. Then the
groups are learnt from a tenth of the training concepts, with the settings of the quickstart, three
times with one budget: by a model that starts from that run (`init`), by the same model from
scratch, and by the quickstart's own model from scratch. Each keeps the checkpoint that the
validation concepts chose; the test concepts, which no run ever saw, are read once a seed. The seed
is that of pretraining, of the labels that are known, and of training.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from mmjax.api.run import load_run
from mmjax.checkpoint.run_folder import RunFolder, json_hash
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.core.registry import Spec
from mmjax.data import manifest
from mmjax.data.meaning import meaning
from mmjax.data.pipeline import prepare
from mmjax.data.splits import make_splits, thinned
from mmjax.metrics import mean_and_spread
from mmjax.train.config import Config, InitConfig
from mmjax.train.other_run import processor_folders, with_run
from mmjax.train.trainer import fit
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
GROUP = "group"
ARMS = ("pretrained", "from scratch", "from scratch, the quickstart's encoders")
METRICS = ("accuracy", "macro_f1")
DROPOUTS = {"text": ("token_dropout", "dropout"), "image": ("dropout",)}
"""What the quickstart adds to encoders that are otherwise those of the pretrained run."""


def tuning(config: Config, run: Path, pretrained: Config) -> Config:
    """The quickstart with the encoders of a pretrained run, from which it starts."""
    pairs, encoders, read = {}, {}, {}
    for name, spec in config.data.modalities.items():
        others = pretrained.data.modalities
        same = [other for other, one in others.items() if one.name in (spec.name, f"{spec.name}s")]
        pairs[name] = name if name in same else same[0]
        theirs, encoder = others[pairs[name]], pretrained.model.encoders[pairs[name]]
        kept = {"max_length"} & theirs.options.keys()
        lengths = {key: theirs.options[key] for key in kept}
        read[name] = spec.replace(**meaning(theirs), **lengths)
        own = config.model.encoders[name]
        known = own.name == encoder.name
        dropouts = {key: own.options[key] for key in DROPOUTS[name] if known}
        encoders[name] = Spec(encoder.name, **dropouts)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, modalities=read),
        model=dataclasses.replace(config.model, encoders=encoders),
        init=InitConfig(run=str(run), include=("encoders_*",), modalities=pairs),
    )


def arms(quickstart: Config, run: Path, pretrained: Config) -> dict[str, Config]:
    """The three models by name."""
    tuned = with_run(tuning(quickstart, run, pretrained))
    return dict(zip(ARMS, (tuned, dataclasses.replace(tuned, init=None), quickstart), strict=True))


def budget(config: Config, steps: int, seed: int) -> Config:
    """So many steps, measured twenty times on the way."""
    every = f"{max(1, steps // 20)} steps"
    return dataclasses.replace(
        config,
        seed=seed,
        train=dataclasses.replace(
            config.train,
            duration=f"{steps} steps",
            evaluate_every=every,
            save_every=every,
            single_modality_baselines=False,
        ),
    )


def measure(config: Config, share: float, folder: Path, title: str) -> dict[str, Any]:
    """Trains on a share of the labels and evaluates on the rows that were held out."""
    start, clock = time.perf_counter(), time.process_time()
    table, _ = manifest.load(config.data)
    splits = make_splits(table, config.data.split, GROUP)
    few = thinned(splits, table, share, column=GROUP, seed=config.seed)
    dataset = prepare(config.data, splits=few, taken=processor_folders(config))
    fit(config, folder, dataset=dataset, title=title)
    run = load_run(folder)
    found = {split: run.evaluate(split=split) for split in ("validation", "test")}
    return {
        "labels": len(few["train"]),
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - clock, 1),
        **{split: {name: one[name] for name in METRICS} for split, one in found.items()},
    }


def pretrain(config: Config, folder: Path) -> dict[str, Any]:
    """The pretrained run, which is kept if it is there already, and what it cost."""
    start, clock = time.perf_counter(), time.process_time()
    if not RunFolder(folder).exists():
        fit(config, folder, title="pretrain")
    found = load_run(folder).evaluate(split="test")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time() - clock, 1),
        "test": {n: v for n, v in found.items() if n in ("loss", "recall@1", "recall@10")},
    }


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """`{model: {metric: {"mean", "std"}}}` of the test rows; null deviations for one seed."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for model in dict.fromkeys(run["model"] for run in runs):
        own = [run for run in runs if run["model"] == model]
        columns = {metric: [run["test"][metric] for run in own] for metric in METRICS}
        columns["seconds"] = [run["processor_seconds"] for run in own]
        found[model] = {}
        for name, values in columns.items():
            mean, deviation = mean_and_spread(values)
            found[model][name] = {"mean": mean, "std": deviation if len(own) > 1 else None}
    return found


def to_markdown(result: dict[str, Any]) -> str:
    """The table, and below it what it is of, and where and when it was measured."""

    def shown(cell: dict[str, float | None], digits: int) -> str:
        spread = "" if cell["std"] is None else f" ± {cell['std']:.{digits}f}"
        return f"{cell['mean']:.{digits}f}{spread}"

    rows = [
        f"| {model} | {shown(row['accuracy'], 3)} | {shown(row['macro_f1'], 3)} "
        f"| {shown(row['seconds'], 0)} |"
        for model, row in result["summary"].items()
    ]
    labels = sorted({run["labels"] for run in result["runs"]})
    lines = [
        "| model | test accuracy | test macro-F1 | processor seconds |",
        "|---|---:|---:|---:|",
        *rows,
        "",
        f"EMOJI groups from {labels[0]} labels ({result['share']:.0%} of the training concepts), "
        f"{result['steps']} steps each, 389 test concepts. Pretrained by `{result['pretrain']}` on "
        "all training concepts without their groups, whose seconds the table leaves out "
        "(`pretrain_emoji.md` has them). Mean ± sample standard deviation over seeds "
        f"{', '.join(map(str, result['seeds']))}; {result['cores']} cores of {result['cpu']}, "
        f"jax {result['versions']['jax']}, Python {result['python']}, {result['date']}: "
        f"`{result['command']}`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.finetune_emoji", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="dotted.key=value", help="of fine-tuning")
    parser.add_argument("--pretrain", type=Path, default=Path("configs/pretrain_emoji.py"))
    parser.add_argument("--pretrain-settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--share", type=float, default=0.1, help="of the labels that are known")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, help="keep the run folders here, and use those there")
    args = parser.parse_args(arguments)
    pretraining = config_lib.override(config_lib.load(ROOT / args.pretrain), args.pretrain_settings)
    quickstart = config_lib.override(
        config_lib.load(ROOT / "configs" / "quickstart.py"), args.settings
    )
    asked = [*args.settings, "--pretrain", args.pretrain, "--share", args.share]
    asked += ["--steps", args.steps, "--seeds", *args.seeds]
    if args.pretrain_settings:
        asked += ["--pretrain-settings", *args.pretrain_settings]
    result: dict[str, Any] = {
        **about(),
        "command": f"python -m benchmarks.finetune_emoji {shlex.join(map(str, asked))}",
        "pretrain": str(args.pretrain),
        "pretrain_settings": args.pretrain_settings,
        "config_hashes": [json_hash(config_lib.to_json(c)) for c in (pretraining, quickstart)],
        "share": args.share,
        "steps": args.steps,
        "seeds": [],
        "pretrained": [],
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        for seed in args.seeds:
            folder = (args.runs or Path(temporary)) / f"seed_{seed}"
            start = dataclasses.replace(pretraining, seed=seed)
            result["pretrained"].append({"seed": seed, **pretrain(start, folder / "pretraining")})
            say(result["pretrained"][-1])
            for model, config in arms(quickstart, folder / "pretraining", pretraining).items():
                if model not in args.models:
                    continue
                known = budget(config, args.steps, seed)
                place = folder / model.replace(" ", "_").replace(",", "").replace("'", "")
                found = {"seed": seed, "model": model, **measure(known, args.share, place, model)}
                result["runs"].append(found)
                say(found)
            result["seeds"].append(seed)
            result["summary"] = summarise(result["runs"])
            write_json(args.out / "finetune_emoji.json", result)
            with atomic(args.out / "finetune_emoji.md") as file:
                file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
