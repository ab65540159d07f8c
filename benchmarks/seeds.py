"""What a config's model reaches over seeds: any config, any metrics of its task.

python -m benchmarks.seeds configs/easy_vqa.py --metrics accuracy --seeds 0 1 2
python -m benchmarks.seeds configs/easy_vqa.py --metrics accuracy --runs runs/easy_vqa

The checkpoint of each run is chosen on validation rows, the test rows are read once. A run that
stands finished in `--runs` (`seed_0`, ...) is evaluated, not trained again.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import about
from benchmarks.pretrain_table import cell
from mmjax.api.run import load_run
from mmjax.api.training import train
from mmjax.checkpoint.run_folder import RunFolder, json_hash
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.train.config import Config
from mmjax.train.trainer import finished
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SPLITS = ("validation", "test")


def measure(config: Config, folder: Path, metrics: Sequence[str]) -> dict[str, Any]:
    """Trains, unless `folder` holds the finished run; metrics of the rows that were held out."""
    found: dict[str, Any] = {}
    if not finished(RunFolder(folder)):
        clock = time.process_time()
        train(config, folder)
        found["processor_seconds"] = round(time.process_time() - clock, 1)
    run = load_run(folder)
    for split in SPLITS:
        every = run.evaluate(split=split)
        found[split] = {name: every[name] for name in metrics}
    return found


def to_markdown(result: dict[str, Any]) -> str:
    """A line a metric, and below it where and when it was measured."""
    runs = result["runs"]
    lines = ["| metric | validation | test |", "|---|---:|---:|"]
    for name in result["metrics"]:
        cells = [cell([run[split][name] for run in runs]) for split in SPLITS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    costs = [run["processor_seconds"] for run in runs if "processor_seconds" in run]
    cost = f", {cell(costs, 0)} processor seconds a run" if costs else ""
    seeds = ", ".join(str(run["seed"]) for run in runs)
    lines += [
        "",
        f"`{result['command']}`: mean ± sample standard deviation over seeds {seeds}{cost}; "
        f"{result['cores']} cores of {result['cpu']}, jax {result['versions']['jax']}, Python "
        f"{result['python']}, {result['date']}.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.seeds", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("settings", nargs="*", metavar="dotted.key=value")
    parser.add_argument("--metrics", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    config = config_lib.override(config_lib.load(args.config), args.settings)
    asked = [f"configs/{args.config.name}", *args.settings, "--metrics", *args.metrics]
    result: dict[str, Any] = {
        **about(),
        "command": f"python -m benchmarks.seeds {shlex.join(asked)}",
        "config_hash": json_hash(config_lib.to_json(config)),
        "metrics": args.metrics,
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        for seed in args.seeds:
            folder = (args.runs or Path(temporary)) / f"seed_{seed}"
            own = config_lib.override(config, [f"seed={seed}"])
            result["runs"].append({"seed": seed, **measure(own, folder, args.metrics)})
            say(result["runs"][-1])
            write_json(args.out / f"{args.config.stem}.json", result)
            with atomic(args.out / f"{args.config.stem}.md") as file:
                file.write(to_markdown(result))


if __name__ == "__main__":
    main()
