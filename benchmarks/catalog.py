"""The table of committed results that `mmjax reproduce` measures again.

python -m benchmarks.catalog        writes mmjax/api/results.json

Nothing is measured here: `catalog_entries.ENTRIES` says of each result which figures count, what
measures them and what that needs; the figures themselves are read from `results/`.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.catalog_entries import ENTRIES, Entry
from mmjax.api.reproducing import Figure
from mmjax.api.training import single_modality
from mmjax.checkpoint.run_folder import json_hash
from mmjax.core import config as config_lib
from mmjax.core.errors import MMJaxError
from mmjax.core.files import atomic, read_json
from mmjax.data import manifest
from mmjax.writers.console import say

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CATALOG = ROOT / "mmjax" / "api" / "results.json"
OTHERS = ("figures", "speed", "ablate_fusion", "detection_shapes")
"""Files of results that are tables of other results."""


def entry_as_json(entry: Entry, folder: Path = RESULTS) -> dict[str, Any]:
    """What `mmjax.api.reproducing.Result` is built from."""
    name = entry.result or entry.id
    result = read_json(folder / f"{name}.json")
    figures = []
    for wanted in entry.figures:
        bare = Figure(wanted.name, (), tuple(wanted.path), wanted.of, dict(wanted.where))
        values = bare.read(result)
        if not values:
            raise SystemExit(f"{name}.json has no '{wanted.name}'")
        told = {**dataclasses.asdict(bare), "least": wanted.least, "factor": wanted.factor}
        figures.append({**told, "values": values})
    kind = "config" if entry.config else "program" if figures else "by hand"
    found: dict[str, Any] = {
        "id": entry.id,
        "what": entry.what,
        "kind": kind,
        "result": name,
        "date": result.get("date", "-"),
        "device": result.get("device", "-"),
        "figures": figures,
        "seeds": _seeds(result) if entry.config or _takes_seeds(entry) else [],
        "needs": entry.needs,
        "cost": entry.cost,
    }
    if entry.program:
        start = "mmjax" if entry.program[0] == "mmjax" else "-m"
        found["command"] = list(entry.program) if start == "mmjax" else ["python", *entry.program]
    if entry.config:
        config = config_lib.load(ROOT / "configs" / f"{entry.config}.py")
        config = config_lib.override(config, list(entry.settings))
        if entry.modality:
            config = single_modality(config, entry.modality)
        found["config"] = config_lib.to_json(config)
        found["config_hash"] = json_hash(found["config"])
        try:
            found["data_hash"] = manifest.load(config.data)[0].fingerprint
        except MMJaxError:
            found["data_hash"] = ""
    return found


def _seeds(result: Mapping[str, Any]) -> list[int]:
    runs = result.get("runs", [])
    return sorted({run["seed"] for run in runs if "seed" in run})


def _takes_seeds(entry: Entry) -> bool:
    if not entry.program or "--seeds" in entry.program:
        return False
    module = ROOT / "benchmarks" / f"{entry.program[0].rpartition('.')[2]}.py"
    return module.is_file() and '"--seeds"' in module.read_text(encoding="utf-8")


def uncatalogued(folder: Path = RESULTS) -> list[str]:
    """Results that no entry tells of."""
    known = {entry.result or entry.id for entry in ENTRIES} | set(OTHERS)
    return sorted(path.stem for path in folder.glob("*.json") if path.stem not in known)


def main() -> None:
    found = [entry_as_json(entry) for entry in ENTRIES]
    with atomic(CATALOG) as file:
        file.write(
            "[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in found) + "\n]\n"
        )
    for one in found:
        means = ", ".join(
            f"{f['name']} {statistics.fmean(f['values']):.4f}" for f in one["figures"]
        )
        say(f"{one['id']:28} {one['kind']:8} {means}")
    for name in uncatalogued():
        say(f"not in ENTRIES: {name}")


if __name__ == "__main__":
    main()
