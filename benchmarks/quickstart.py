"""How good the quickstarts are over seeds, beside each modality alone, and what they cost.

python -m benchmarks.quickstart --seeds 0 1 2 --out benchmarks/results
python -m benchmarks.quickstart --config quickstart_minilm --models "text alone" fused

Every model trains with the same budget and keeps the checkpoint that validation chose; the test
rows are read once a seed. Seconds are of the whole training: data, compilation (no cache kept from
earlier runs unless the environment names one), steps, validation and checkpoints.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from mmjax.api.run import load_run
from mmjax.api.training import single_modality
from mmjax.checkpoint.run_folder import json_hash
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.metrics import mean_and_spread
from mmjax.train.config import Config
from mmjax.train.trainer import fit
from mmjax.train.warm_start import with_encoders
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("quickstart", "quickstart_minilm", "quickstart_lora")
METRICS = ("accuracy", "macro_f1")
COLUMNS = {
    "validation accuracy": ("validation", "accuracy"),
    "test accuracy": ("test", "accuracy"),
    "test macro-F1": ("test", "macro_f1"),
}


def models(config: Config) -> dict[str, Config]:
    """The whole, after each of its modalities alone."""
    config = with_encoders(config)
    alone = {f"{name} alone": single_modality(config, name) for name in config.model.encoders}
    return {**alone, "fused": config}


def measure(config: Config, folder: Path, title: str) -> dict[str, Any]:
    """Trains one model and evaluates it on the rows that were held out."""
    start = time.perf_counter()
    fit(config, folder, title=title)
    seconds = time.perf_counter() - start
    run = load_run(folder)
    found = {split: run.evaluate(split=split) for split in ("validation", "test")}
    return {
        "seconds": round(seconds, 1),
        **{split: {name: one[name] for name in METRICS} for split, one in found.items()},
    }


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """`{model: {column: {"mean", "std"}}}`; the sample standard deviation, null for one seed."""
    summary: dict[str, dict[str, dict[str, float | None]]] = {}
    for model in dict.fromkeys(run["model"] for run in runs):
        own = [run for run in runs if run["model"] == model]
        columns = {c: [run[s][m] for run in own] for c, (s, m) in COLUMNS.items()}
        columns["seconds"] = [run["seconds"] for run in own]
        summary[model] = {}
        for column, values in columns.items():
            mean, deviation = mean_and_spread(values)
            summary[model][column] = {"mean": mean, "std": deviation if len(values) > 1 else None}
    return summary


def to_markdown(result: dict[str, Any]) -> str:
    """The table, and below it where and when it was measured."""

    def cell(found: dict[str, float | None], digits: int) -> str:
        spread = "" if found["std"] is None else f" ± {found['std']:.{digits}f}"
        return f"{found['mean']:.{digits}f}{spread}"

    columns = [*COLUMNS, "seconds"]
    lines = [
        f"| model | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
        *(
            f"| {model} | {' | '.join(cell(row[c], 0 if c == 'seconds' else 3) for c in columns)} |"
            for model, row in result["summary"].items()
        ),
        "",
        f"Mean ± sample standard deviation over seeds {', '.join(map(str, result['seeds']))}; "
        f"{result['cores']} cores of {result['cpu']}, jax {result['versions']['jax']}, "
        f"Python {result['python']}, {result['date']}. "
        "Each model was chosen on validation rows; seconds include data, compilation, validation "
        "and checkpoints.",
    ]
    if "remark" in result:
        lines += ["", result["remark"]]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.quickstart", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="dotted.key=value")
    parser.add_argument("--config", choices=CONFIGS, default=CONFIGS[0])
    parser.add_argument("--models", nargs="+", help="only these, such as 'text alone' and fused")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    args = parser.parse_args(arguments)
    result_file, table_file = args.out / f"{args.config}.json", args.out / f"{args.config}.md"
    path = ROOT / "configs" / f"{args.config}.py"
    config = config_lib.override(config_lib.load(path), args.settings)
    result: dict[str, Any] = {
        **about(),
        "config": str(path.relative_to(ROOT)),
        "settings": args.settings,
        "config_hash": json_hash(config_lib.to_json(config)),
        "compilation_cache": "JAX_COMPILATION_CACHE_DIR" in os.environ,
        "seeds": [],
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        for seed in args.seeds:
            for model, one in models(dataclasses.replace(config, seed=seed)).items():
                if args.models and model not in args.models:
                    continue
                folder = (args.runs or Path(temporary)) / f"seed_{seed}" / model.replace(" ", "_")
                found = {"seed": seed, "model": model, **measure(one, folder, model)}
                result["runs"].append(found)
                say(found)
            result["seeds"].append(seed)
            result["summary"] = summarise(result["runs"])
            write_json(result_file, result)
            with atomic(table_file) as file:
                file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
