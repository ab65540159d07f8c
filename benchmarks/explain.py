"""Whether explanations are true: deletion and insertion curves beside a random order's.

    python -m benchmarks.explain --runs runs/explain

Trains `configs/quickstart.py` (15 epochs) and `configs/av_mnist.py`, unless `--runs` holds their
finished runs (`emoji`, `av_mnist`), and explains the first test rows of each by every method that
says where. A curve is the probability of what was said as the places that a method puts first are
hidden, or alone shown, in all modalities that it speaks of at once; random orders hide as many
places of the same modalities, and the same map moved elsewhere as coarse ones. Means over rows of
the area under it, and of the difference to the mean of two of each with its 95 % bootstrap
interval. All methods are asked in one go, so that what they share is compiled once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import about
from mmjax.api.run import Run, load_run
from mmjax.api.training import train
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, write_json
from mmjax.core.registry import Spec
from mmjax.explain.explanation import Explanation
from mmjax.explain.writing import Explanations
from mmjax.metrics import bootstrap_interval_of_mean
from mmjax.train.trainer import finished
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
METHODS = {
    "gradients": Spec("gradients"),
    "integrated_gradients": Spec("integrated_gradients", steps=20, most_parts=1),
    "smooth_grad": Spec("smooth_grad", samples=10),
    "grad_cam": Spec("grad_cam"),
    "hires_cam": Spec("hires_cam"),
    "occlusion": Spec("occlusion"),
}
ALONE = "train.single_modality_baselines=false"
RUNS = {
    "av_mnist": ("av_mnist.py", (ALONE,)),
    "emoji": ("quickstart.py", ("train.duration=15 epochs", ALONE)),
}
CURVES = ("deletion", "insertion")


def run_of(name: str, folder: Path) -> Run:
    """The finished run in `folder`, trained if there is none."""
    if not finished(RunFolder(folder)):
        file, changes = RUNS[name]
        whole = config_lib.override(config_lib.load(ROOT / "configs" / file), changes)
        train(whole, folder)
    return load_run(folder)


def gained(found: Sequence[Explanation], curve: str, than: str = "random") -> np.ndarray:
    """By how much each row's curve is better than that of a random order, or of the moved map."""
    own = np.array([one.checks[curve] for one in found])
    other = np.array([one.checks[f"{curve}_{than}"] for one in found])
    return other - own if curve == "deletion" else own - other


def summarise(found: Sequence[Explanation]) -> dict[str, Any]:
    """Means over the rows of one method, and how often and by how much it beats a random order."""
    summary: dict[str, Any] = {"rows": len(found)}
    for curve in CURVES:
        better, than_moved = gained(found, curve), gained(found, curve, "moved")
        low, high = bootstrap_interval_of_mean(better)
        few, many = bootstrap_interval_of_mean(than_moved)
        summary[curve] = {
            "area": float(np.mean([one.checks[curve] for one in found])),
            "random": float(np.mean([one.checks[f"{curve}_random"] for one in found])),
            "better by": float(better.mean()),
            "interval": [float(low), float(high)],
            "rows better": float((better > 0).mean()),
            "moved": float(np.mean([one.checks[f"{curve}_moved"] for one in found])),
            "better than moved by": float(than_moved.mean()),
            "interval than moved": [float(few), float(many)],
        }
    like = [one.checks["randomised"] for one in found if "randomised" in one.checks]
    summary["like random weights"] = float(np.nanmean(like)) if like else None
    return summary


def asked(
    run: Run, rows: int, methods: Any, *, check: bool
) -> tuple[Explanations, dict[str, dict[str, float | None]]]:
    """Explanations of the first test rows, and what each method took of the processor, in seconds
    a row: with compiling, and once compiled (of later batches; None where there is one alone).
    """
    spent: list[float] = []
    clock = time.process_time()

    def told(done: int, total: int) -> None:
        nonlocal clock
        spent.append(time.process_time() - clock)
        clock = time.process_time()

    explained = run.explain(split="test", rows=rows, methods=methods, check=check, told=told)
    names = list(explained.results.over)
    found = {}
    for index, name in enumerate(names):
        own = spent[index :: len(names)]
        later = sum(own[1:]) / (rows * (len(own) - 1) / len(own)) if own[1:] else None
        found[name] = {
            "processor seconds a row": round(sum(own) / rows, 3),
            "once compiled": None if later is None else round(later, 4),
        }
    return explained, found


def measure(run: Run, rows: int) -> dict[str, Any]:
    """The summary of every method on the first test rows of a run."""
    explained, seconds = asked(run, rows, [*METHODS.values()], check=True)
    return {name: {**summarise(explained.of(name)), **seconds[name]} for name in METHODS}


def speed(run: Run, rows: int = 32) -> dict[str, Any]:
    """What each method that fits takes, without the checks."""
    return {"rows": rows, "methods": asked(run, rows, "all", check=False)[1]}


def to_markdown(result: Mapping[str, Any]) -> str:
    """A line a data set and method, and below it where and when it was measured."""
    lines = [
        "| data | method | deletion | random order | better by | than moved | insertion | "
        "random order | better by | than moved | rows better | like random weights |",
        "|---|---|" + "---:|" * 10,
    ]
    for name, methods in result["runs"].items():
        for method, found in methods.items():
            cells = []
            for curve in CURVES:
                one = found[curve]
                cells += [
                    f"{one['area']:.3f}",
                    f"{one['random']:.3f}",
                    _between(one["better by"], one["interval"]),
                    _between(one["better than moved by"], one["interval than moved"]),
                ]
            like = found["like random weights"]
            shares = " / ".join(f"{found[curve]['rows better']:.0%}" for curve in CURVES)
            cells += [shares, "-" if like is None else f"{like:.2f}"]
            lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
    lines += ["", *_of_speed(result["speed"])] if "speed" in result else []
    rows = {name: next(iter(one.values()))["rows"] for name, one in result["runs"].items()}
    told = ", ".join(f"{count} test rows of {name}" for name, count in rows.items())
    lines += [
        "",
        "Areas under curves of the probability of what was said as places are hidden (deletion: "
        "lower is better) or alone shown (insertion: higher is better), beside random orders, and "
        "beside the same map moved elsewhere, which is as coarse; differences with their 95 % "
        "bootstrap intervals, and the share of rows where that to random orders is above 0. Of two "
        "coarse maps the random order of single places is no fair measure: strewn over a picture "
        "they show more of it than one region of as many. Like random weights: rank "
        "correlation with the explanation by a model of shuffled "
        f"weights. {told}; {result['cores']} cores of {result['cpu']}, Python {result['python']}, "
        f"jax {result['versions']['jax']}, {result['date']}: "
        f"`python -m benchmarks.explain --rows {max(rows.values())}`.",
    ]
    return "\n".join(lines) + "\n"


def _of_speed(found: Mapping[str, Any]) -> list[str]:
    """A line a method: processor seconds a row."""
    lines = ["| method on emoji | seconds a row, compiled | with compiling |", "|---|---:|---:|"]
    for name, own in found["methods"].items():
        once = own["once compiled"]
        told = "-" if once is None else f"{once:.4f}"
        lines.append(f"| {name} | {told} | {own['processor seconds a row']:.3f} |")
    return [*lines, "", f"Processor seconds, {found['rows']} rows in batches of 16, no checks."]


def _between(mean: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/explain"))
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    runs = {}
    for name in RUNS:
        run = run_of(name, args.runs / name)
        runs[name] = measure(run, args.rows)
        say(f"{name} is explained")
        if name == "emoji":
            quick = speed(run)
    result = {**about(), "runs": runs, "speed": quick}
    write_json(args.out / "explain.json", result)
    with atomic(args.out / "explain.md") as file:
        file.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
