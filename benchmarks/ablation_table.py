"""The results of `benchmarks.ablate_fusion` as one table a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjax.core.files import read_json
from mmjax.metrics import mean_and_spread

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LEVELS = ("single", "feature", "attention", "model", "decision")

Runs = Sequence[dict[str, Any]]


def results(folder: Path) -> list[dict[str, Any]]:
    """What was measured of each config, the quickstart first."""
    found = [read_json(path) for path in folder.glob("ablate_fusion_*.json")]
    return sorted(found, key=lambda one: (one["config"] != "configs/quickstart.py", one["config"]))


def by_model(runs: Runs) -> dict[str, list[dict[str, Any]]]:
    """The runs of each model, by level and name."""
    ordered = sorted(runs, key=lambda run: (LEVELS.index(run["level"]), run["model"], run["seed"]))
    return {
        name: [run for run in ordered if run["model"] == name]
        for name in dict.fromkeys(run["model"] for run in ordered)
    }


def best_single(models: dict[str, list[dict[str, Any]]]) -> str | None:
    """The modality that is best alone, by its mean accuracy on the validation rows."""
    alone = {
        name: mean_and_spread([run["validation"] for run in runs])[0]
        for name, runs in models.items()
        if runs[0]["level"] == "single" and all("skipped" not in run for run in runs)
    }
    return max(alone, key=lambda name: alone[name]) if alone else None


def differences(runs: Runs, others: Runs) -> list[float]:
    """Test accuracy less that of another model with the same seed."""
    known = {run["seed"]: run["test"] for run in others}
    return [run["test"] - known[run["seed"]] for run in runs if run["seed"] in known]


def cell(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± sample standard deviation."""
    if not values:
        return ""
    mean, deviation = mean_and_spread(values)
    spread = "" if math.isnan(deviation) else f" ± {deviation:.3f}"
    return f"{mean:{'+' if signed else ''}.3f}{spread}"


def rows(result: dict[str, Any]) -> list[str]:
    models = by_model(result["runs"])
    best = best_single(models)
    lines = []
    for name, runs in models.items():
        skipped = next((run["skipped"] for run in runs if "skipped" in run), None)
        if skipped is not None:
            lines.append(f"| {runs[0]['level']} | {name} | not run: {skipped} | | | | |")
            continue
        apart = [] if best is None or name == best else differences(runs, models[best])
        cells = [
            runs[0]["level"],
            f"**{name}**" if name == best else name,
            cell([run["validation"] for run in runs]),
            cell([run["test"] for run in runs]),
            cell(apart, signed=True),
            f"{runs[0]['parameters']:,}",
            f"{min(run['cpu_seconds'] for run in runs):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def section(result: dict[str, Any]) -> str:
    """The table of one config, and below it where, when and how it was measured."""
    runs = result["runs"]
    seeds = sorted({run["seed"] for run in runs})
    best = best_single(by_model(runs))
    columns = [
        "validation accuracy",
        "test accuracy",
        "above the best modality alone",
        "parameters",
        "CPU seconds",
    ]
    changed = ", ".join(f"`{change}`" for change in result["changes"]) or "nothing changed"
    lines = [
        f"`{result['config']}`",
        "",
        f"| level | model | {' | '.join(columns)} |",
        f"|---|---|{'---:|' * len(columns)}",
        *rows(result),
        "",
        f"Mean ± sample standard deviation over seeds {', '.join(map(str, seeds))}; "
        + ("" if best is None else f"**{best}** is the best modality alone on validation rows. ")
        + f"Against the config: {changed}. Parameters are those beside the encoders, CPU seconds "
        "the least of the seeds (programs that an earlier seed compiled are not compiled again). "
        f"{result['cpu']}, jax {result['versions']['jax']}, Python {result['python']}, "
        f"{result['date']}.",
    ]
    return "\n".join(lines) + "\n"


def to_markdown(found: Sequence[dict[str, Any]]) -> str:
    """One table a config."""
    return "\n".join(section(result) for result in found)
