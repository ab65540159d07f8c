"""What a run cost, as it was trained and as it is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api.run import Run
from mmjax.core.files import read_json, write_json
from mmjax.train.costs import Costs

_FILE = "costs.json"
_PLACES = {"examples_per_second": "examples a second", "input_wait": "share of time for input"}


def add(run: Run, costs: Costs) -> None:
    """Writes what this life of a run took beside what earlier ones did."""
    path = run.folder.path / _FILE
    known = read_json(path) if path.is_file() else []
    write_json(path, [*known, costs.as_json()])


def told(run: Run, curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Names and values for a report: throughput and waits from the curves, memory and compiling
    from what training measured. Empty of a run that recorded neither.
    """
    found: dict[str, Any] = {}
    for name, title in _PLACES.items():
        # The first record holds the time that compiling took.
        values = [one[name] for one in curves if isinstance(one.get(name), int | float)][1:]
        if values:
            found[f"{title}, median"] = float(np.median(values))
    path = run.folder.path / _FILE
    if not path.is_file():
        return found
    lives = read_json(path)
    found["seconds of training"] = sum(one["seconds"] for one in lives)
    found["processor seconds of training"] = sum(one["processor_seconds"] for one in lives)
    found["seconds of compiling"] = sum(one["compile_seconds"] for one in lives)
    found["programs"] = sum(one["programs"] for one in lives)
    found["peak memory of the process, MiB"] = max(one["peak_memory"] for one in lives) / 2**20
    device = [one["peak_device_memory"] for one in lives if one["peak_device_memory"]]
    if device:
        found["peak memory of a device, MiB"] = max(device) / 2**20
    if len(lives) > 1:
        found["times it was started"] = len(lives)
    return found
