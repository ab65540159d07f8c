"""How well the exercises of a person who was not trained on are told, over all ten persons.

python -m benchmarks.smartwatch --seeds 0 1 2 --out benchmarks/results
python -m benchmarks.smartwatch --linear        the linear models alone

Each person in turn is left out of training and is the test; what is in `results/smartwatch.json`
already, of the same settings, stays. Nothing is chosen in a run: the last parameters are tested,
and the validation rows, a fiftieth of the windows of the nine, are there because a run has some. A
window is one example; a recording is told by the mean logarithm of its windows' probabilities. The
settings of `configs/smartwatch.py` were looked for on persons 1 to 3, each left out: their figures
are part of the mean over ten, and left out of the mean over the other seven. The combination that
stands there was first measured by this program, on all ten; windows of two seconds had been tried
on persons 4 and 9, too, and the linear models on all ten.

The linear models are logistic regressions (scikit-learn, C=0.1) on whole recordings of the nine,
as they are and with the left arm mirrored: on mean and standard deviation of each channel, and on
these with quantiles, correlations and correlations at lags.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import about
from mmjax.api.run import load_run
from mmjax.checkpoint.run_folder import json_hash
from mmjax.core import config as config_lib
from mmjax.core.files import atomic, read_json, write_json
from mmjax.core.packages import locate
from mmjax.data.sources.smartwatch import MIRRORED, read_recordings
from mmjax.metrics import mean_and_spread
from mmjax.train.config import Config
from mmjax.train.trainer import fit
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
PERSONS = tuple(range(1, 11))
CHOSEN_ON = (1, 2, 3)
_LAGS = (5, 12, 25)


def without(config: Config, person: int, seed: int) -> Config:
    """The config that trains on the other persons."""
    changes = [
        f"data.source.test=[{person}]",
        "data.source.validation=[]",
        "data.split.names.validation=[]",
        "data.split.fractions=[0.98,0.02,0.0]",
    ]
    return dataclasses.replace(config_lib.override(config, changes), seed=seed)


def of_recordings(
    probabilities: np.ndarray, labels: np.ndarray, recordings: np.ndarray
) -> tuple[int, int]:
    """How many recordings are right, and how many there are."""
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-12))
    each = np.unique(recordings)
    said = [logs[recordings == one].mean(axis=0).argmax() for one in each]
    true = [labels[recordings == one][0] for one in each]
    return int(np.sum(np.equal(said, true))), len(each)


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """Trains once and tests on the person left out."""
    start = time.process_time()
    fit(config, folder)
    seconds = time.process_time() - start
    run = load_run(folder, step="latest")
    found = run.evaluation(split="test")
    chances, labels = found.predictions["probabilities"], found.targets["label"]
    table = run.dataset().table
    numbers = np.asarray(table.column("recording"))[found.rows]
    right, count = of_recordings(chances, labels, numbers)
    return {
        "accuracy": float((chances.argmax(axis=1) == labels).mean()),
        "windows": len(labels),
        "recordings_right": right,
        "recordings": count,
        "cpu_seconds": round(seconds, 1),
    }


def plain(readings: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each channel."""
    return np.concatenate([readings.mean(axis=0), readings.std(axis=0)])


def rich(readings: np.ndarray) -> np.ndarray:
    """These, quantiles, and correlations at once and at lags."""
    scaled = (readings - readings.mean(axis=0)) / readings.std(axis=0)
    lagged = [(scaled[lag:].T @ scaled[:-lag] / len(scaled)).ravel() for lag in _LAGS]
    return np.concatenate(
        [
            plain(readings),
            np.percentile(readings, [5, 25, 50, 75, 95], axis=0).ravel(),
            np.corrcoef(readings.T)[np.triu_indices(6, 1)],
            *lagged,
        ]
    )


def linear() -> dict[str, float]:
    """Accuracy over all 140 recordings, each told by a model of the nine other persons."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    recordings = read_recordings(Path(locate("package:seglearn/data")) / "watch_dataset.npy")
    labels = np.array([one.exercise for one in recordings])
    persons = np.array([one.person for one in recordings])
    results = {}
    for name, features in (("mean and deviation", plain), ("with lags", rich)):
        for mirrored in (False, True):
            values = np.stack(
                [
                    features(one.readings * (MIRRORED if mirrored and not one.right else 1))
                    for one in recordings
                ]
            )
            said = np.empty(len(labels), labels.dtype)
            for person in PERSONS:
                held = persons == person
                model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
                said[held] = model.fit(values[~held], labels[~held]).predict(values[held])
            results[name + (", mirrored" if mirrored else "")] = float((said == labels).mean())
    return results


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each seed the means over persons, and the mean and spread over whole seeds."""
    summary: dict[str, Any] = {"persons": {}, "seeds": {}}
    for seed in sorted({run["seed"] for run in runs}):
        own = [run for run in runs if run["seed"] == seed]
        others = [run for run in own if run["person"] not in CHOSEN_ON]
        if {run["person"] for run in own} == set(PERSONS):
            summary["seeds"][str(seed)] = {
                "windows": float(np.mean([run["accuracy"] for run in own])),
                "recordings": float(np.mean([_share(run) for run in own])),
                "windows_of_seven": float(np.mean([run["accuracy"] for run in others])),
                "recordings_of_seven": float(np.mean([_share(run) for run in others])),
            }
    for person in PERSONS:
        own = [run for run in runs if run["person"] == person]
        if own:
            summary["persons"][str(person)] = {
                "windows": float(np.mean([run["accuracy"] for run in own])),
                "recordings": float(np.mean([_share(run) for run in own])),
            }
    whole = list(summary["seeds"].values())
    for name in whole[0] if whole else ():
        mean, deviation = mean_and_spread([one[name] for one in whole])
        summary[name] = {"mean": mean, "std": deviation if len(whole) > 1 else None}
    return summary


def _share(run: dict[str, Any]) -> float:
    return run["recordings_right"] / run["recordings"]


def to_markdown(result: dict[str, Any]) -> str:
    """The table, and below it where and when it was measured."""
    summary = result["summary"]
    lines = ["| left out | windows | recordings |", "|---|---:|---:|"]
    for person, found in summary["persons"].items():
        mark = " (settings chosen on)" if int(person) in CHOSEN_ON else ""
        lines.append(f"| {person}{mark} | {found['windows']:.3f} | {found['recordings']:.3f} |")

    def cell(name: str) -> str:
        found = summary[name]
        spread = "" if found["std"] is None else f" ± {found['std']:.3f}"
        return f"{found['mean']:.3f}{spread}"

    if summary["seeds"]:
        lines.append(f"| mean of ten | {cell('windows')} | {cell('recordings')} |")
        seven = (cell("windows_of_seven"), cell("recordings_of_seven"))
        lines.append(f"| mean of the other seven | {seven[0]} | {seven[1]} |")
    for name, accuracy in result["linear"].items():
        lines.append(f"| linear, {name} | | {accuracy:.3f} |")
    seconds = [run["cpu_seconds"] for run in result["runs"]]
    lines += [
        "",
        f"Accuracy; whole seeds: {', '.join(summary['seeds']) or 'none'}; "
        f"{len(seconds)} trainings of {np.mean(seconds):.0f} processor seconds on average, on "
        f"{result['cores']} cores of {result['cpu']}, jax {result['versions']['jax']}, "
        f"Python {result['python']}, {result['date']}.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.smartwatch", description=__doc__)
    parser.add_argument("settings", nargs="*", metavar="dotted.key=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--persons", type=int, nargs="+", default=list(PERSONS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--linear", action="store_true", help="the linear models alone")
    args = parser.parse_args(arguments)
    if args.linear:
        say(linear())
        return
    path = ROOT / "configs" / "smartwatch.py"
    config = config_lib.override(config_lib.load(path), args.settings)
    file, table = args.out / "smartwatch.json", args.out / "smartwatch.md"
    hashed = json_hash(config_lib.to_json(config))
    known = read_json(file) if file.exists() else {}
    runs = known.get("runs", []) if known.get("config_hash") == hashed else []
    result: dict[str, Any] = {
        **about(),
        "config": str(path.relative_to(ROOT)),
        "settings": args.settings,
        "config_hash": hashed,
        "linear": known.get("linear") or linear(),
        "runs": runs,
    }
    for seed in args.seeds:
        for person in args.persons:
            if any((run["seed"], run["person"]) == (seed, person) for run in runs):
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = measure(without(config, person, seed), Path(folder) / "run")
            runs.append({"seed": seed, "person": person, **found})
            say(runs[-1])
            result["summary"] = summarise(runs)
            write_json(file, result)
            with atomic(table) as out:
                out.write(to_markdown(result))
    say(to_markdown(result))


if __name__ == "__main__":
    main()
