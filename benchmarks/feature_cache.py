"""What keeping the features of frozen encoders saves: whole `mmjax train` calls, with and without.

python -m benchmarks.feature_cache

`configs/quickstart_frozen.py` without its baselines: with MiniLM frozen, the image CNN trained from
scratch; and with both frozen, the CNN from the first run, one drawing and no augmentation. Each
call is a process of its own on one core, whose processor seconds are told from start to exit:
imports, data, compilation (nothing is compiled before), features, training, validation, test,
report. "again" finds the features that the call before it kept. In each of `--rounds` the three
follow each other; seconds are medians, ratios medians of those within a round. Written to
`benchmarks/results/feature_cache.json` and `feature_cache.md`, which grow with each round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.harness import restart_on_one_core
from benchmarks.machine import about
from mmjax.checkpoint.load import load_arrays
from mmjax.core.files import atomic, read_json, write_json

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart_frozen.py"
MAIN = "from mmjax.cli import main; raise SystemExit(main())"
BOTH = (
    'optimizer.multipliers={"^/encoders_": 0.0}',
    'init.include=["encoders_image"]',
    'data.modalities.image.columns=["twemoji"]',
    "data.modalities.image.augment={}",
    "model.encoders.image.dropout=0",
)


def call(run: Path, compiled: Path, changes: Sequence[str]) -> float:
    """Processor seconds of one `mmjax train`, with nothing compiled before."""
    told = [sys.executable, "-c", MAIN, "train", str(CONFIG), *changes, "--workdir", str(run)]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(compiled / run.name)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(told, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(getattr(after, one) - getattr(before, one) for one in ("ru_utime", "ru_stime"))


def apart(first: Path, second: Path) -> float:
    """The largest difference of any array of two finished runs, state of the optimiser included."""
    found = [load_arrays(run, "latest") for run in (first, second)]
    both = jax.tree.map(lambda a, b: np.abs(np.float64(a) - np.float64(b)).max(initial=0.0), *found)
    return float(max(jax.tree.leaves(both)))


def rounds_of(
    folder: Path, name: str, changes: Sequence[str], cached: Sequence[str], rounds: int
) -> Iterator[dict[str, Any]]:
    """What is found of one way of training, after each round."""
    several: list[dict[str, float]] = []
    for number in range(rounds):
        seconds, runs = {}, {}
        kept = folder / f"features_{name}_{number}".replace(" ", "_")
        for way in ("raw", "kept", "again"):
            where = {one: str(kept) for one in cached} if way != "raw" else {}
            cache = f"train.feature_cache={json.dumps(where)}"
            runs[way] = folder / f"{name}_{way}_{number}".replace(" ", "_")
            seconds[way] = call(runs[way], folder / "compiled", [*changes, cache])
        several.append(seconds)
        yield {
            "rounds": several,
            "seconds": {way: statistics.median(one[way] for one in several) for way in seconds},
            "faster": {
                way: statistics.median(one["raw"] / one[way] for one in several)
                for way in ("kept", "again")
            },
            "largest_difference": apart(runs["raw"], runs["kept"]),
            "accuracy": {
                way: read_json(run / "metrics.json")["test"]["accuracy"]
                for way, run in runs.items()
            },
        }


def measure(folder: Path, common: Sequence[str], rounds: int) -> Iterator[dict[str, Any]]:
    """All that is found so far, again and again."""
    begun = folder / "MiniLM_frozen_raw_0"
    result: dict[str, Any] = {}
    for name, more, cached in (
        ("MiniLM frozen", (), ("text",)),
        ("both frozen", (*BOTH, f"init.run={begun}"), ("text", "image")),
    ):
        for found in rounds_of(folder, name, [*common, *more], cached, rounds):
            result[name] = found
            yield result


def to_markdown(result: Mapping[str, Any]) -> str:
    lines = [
        "| encoders | without | features made and kept | faster | features found | faster "
        "| largest difference of any array |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in result["ways"].items():
        seconds = one["seconds"]
        shown = [f"{seconds['raw']:.0f} s"]
        for way in ("kept", "again"):
            shown += [f"{seconds[way]:.0f} s", f"{one['faster'][way]:.2f}x"]
        lines.append(f"| {name} | {' | '.join(shown)} | {one['largest_difference']:.1g} |")
    used = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    told = (
        f"Whole `mmjax train` calls of `configs/quickstart_frozen.py` ({result['changes']}), "
        f"processor seconds of one core of a {result['cpu']}, each compiled from nothing. {used}; "
        f"{result['date']}, load {result['load_average']}."
    )
    return "\n".join([*lines, "", told, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", nargs="*", default=[], help="of the config, for all runs")
    parser.add_argument("--out", default="benchmarks/results/feature_cache")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    restart_on_one_core()
    common = ["train.single_modality_baselines=false", *args.changes]
    with tempfile.TemporaryDirectory() as folder:
        for ways in measure(Path(folder), common, args.rounds):
            result = {**about(), "changes": " ".join(common), "ways": ways}
            write_json(f"{args.out}.json", result)
            with atomic(f"{args.out}.md", "w") as file:
                file.write(to_markdown(result))


if __name__ == "__main__":
    main()
