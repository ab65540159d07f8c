"""`results/serving.md` of `results/serving.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.core.files import atomic

_WORDS = {
    "throughput": "Dynamic batching, one by one, and 70 % of capacity",
    "overload": "Three times the capacity",
    "compare": "Beside other servers, the same model",
    "drain": "SIGTERM under load",
    "restart": "Killed with SIGKILL",
    "slow": "Slow clients",
    "fuzz": "Mutated requests",
    "schema": "Schemathesis on the OpenAPI document",
    "triton": "tritonclient",
}
_COLUMNS = ("requests_s", "requests_cpu_s", "p50_ms", "p99_ms")


def write(results: Mapping[str, Any], path: Path) -> None:
    """A section a part: tables of loads, and the rest line by line."""
    lines = ["# Serving", ""]
    lines += [
        "Made by `python -m benchmarks.serving`. Loads of 10 s by `h2load` on the same machine, "
        "over loopback; the model is `benchmarks/serving_model.py`. `requests_s` are those "
        "answered a second, the first two seconds left out; `requests_cpu_s` those answered a "
        "second of the server's processor time: the machine is shared, so it tells more than "
        "requests a second do.",
        "",
    ]
    for name, title in _WORDS.items():
        if name in results:
            lines += _section(title, results[name])
    with atomic(path) as file:
        file.write("\n".join(lines))


def _section(title: str, found: Mapping[str, Any]) -> list[str]:
    about = found["about"]
    where = f"{about['date']}, {about['cpu']}, {about['cores']} cores"
    lines = [f"## {title}", "", f"{where}, load average {about['load_average']} at its start.", ""]
    rest = {key: value for key, value in found.items() if key != "about"}
    if all(isinstance(one, Mapping) and "offered_s" in one for one in rest.values()):
        return [*lines, *_side_by_side(rest), ""]
    loads = dict(_loads(rest))
    if loads:
        lines += ["| | " + " | ".join(_COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
        for key, row in loads.items():
            lines.append(f"| {key} | " + " | ".join(str(row[c]) for c in _COLUMNS) + " |")
        lines.append("")
    for key, value in _plain(rest):
        lines.append(f"- {key}: {value}")
    return [*lines, ""]


def _side_by_side(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A column of every number for each of several."""
    flat = {name: _flat(one) for name, one in found.items()}
    lines = [f"| | {' | '.join(flat)} |", "|---" * (len(flat) + 1) + "|"]
    for key in next(iter(flat.values())):
        lines.append(f"| {key} | {' | '.join(str(one.get(key, '')) for one in flat.values())} |")
    return lines


def _flat(found: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in found.items():
        name = f"{above}{key.replace('_', ' ')}"
        rows |= _flat(value, f"{name}, ") if isinstance(value, Mapping) else {name: value}
    return rows


def _loads(found: Mapping[str, Any], above: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    rows = []
    for key, value in found.items():
        if isinstance(value, Mapping):
            name = f"{above}, {key}" if above else key
            named = name.replace("_", " ")
            rows += [(named, value)] if "p99_ms" in value else _loads(value, name)
    return rows


def _plain(found: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in found.items():
        name = f"{above}, {key}".replace("_", " ") if above else key.replace("_", " ")
        if isinstance(value, Mapping) and "p99_ms" in value:
            rows += [
                (f"{name}, {k.replace('_', ' ')}", v) for k, v in value.items() if k not in _COLUMNS
            ]
        elif isinstance(value, Mapping):
            rows += _plain(value, name)
        elif isinstance(value, list):
            rows += [(name, f"`{one}`") for one in value]
        else:
            rows.append((name, value))
    return rows
