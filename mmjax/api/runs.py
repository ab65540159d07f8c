"""The runs below a folder as a table: what each is, how far it came, how good it is."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.api.evaluating import ALONE
from mmjax.checkpoint.lock import holder
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core.errors import CheckpointError, ConfigError, DataError, nearest
from mmjax.core.files import read_json
from mmjax.report.html import LOWER_IS_BETTER
from mmjax.writers import read_records

_CONDITION = re.compile(r"([^=<>!]+?)\s*(<=|>=|!=|=|<|>)\s*(.*)")
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FACTS = ("run", "status", "step", "task", "fusion", "modalities", "seed", "changed")


@dataclasses.dataclass(frozen=True)
class RunLine:
    """One run of a table. `metrics` are those of `split`, `config` its settings by dotted path."""

    path: Path
    run: str
    """Its path from the folder that was asked for."""
    status: str
    """finished, training (a process holds it), stopped, or damaged."""
    step: int | None
    task: str
    fusion: str
    modalities: str
    seed: int | None
    changed: str
    """When anything was last written, UTC."""
    split: str
    metrics: Mapping[str, float]
    config: Mapping[str, Any]

    def value(self, name: str) -> Any:
        """A column by its name: a fact, a metric, or a setting's dotted path; or None."""
        if name in _FACTS:
            return getattr(self, name)
        return self.metrics[name] if name in self.metrics else self.config.get(name)


def runs(
    folder: str | os.PathLike,
    *,
    where: Sequence[str] = (),
    sort: str | None = None,
    split: str | None = None,
    alone: bool = False,
) -> list[RunLine]:
    """The runs in a folder and below it, by name.

    `where` keeps those for which every condition holds, such as "accuracy>0.8", "status=finished",
    "model.fusion.width=128"; `sort` puts the best first by a metric, and in order by anything else
    (the other way round with a "-" before it). Metrics are those of `split`, the last measured one
    if None. With `alone`, runs of single modalities that were trained with others are there too.

    Raises DataError where there is no such folder, ConfigError for a condition that is none, and
    for a column that no run has.
    """
    top = Path(folder)
    if not top.is_dir():
        raise DataError(310, f"no folder '{top}'", fix="name the folder that runs are in")
    found = [_line(RunFolder(path), top, split) for path in _below(top, alone)]
    for condition in where:
        test = _test(condition, found)
        found = [one for one in found if test(one)]
    if sort is not None:
        name = sort.removeprefix("-")
        _require(name, found)
        best_first = any(name in one.metrics for one in found) and name not in LOWER_IS_BETTER
        # What has no value comes last either way.
        known = [one for one in found if one.value(name) is not None]
        key = _ordered(known, name)
        known.sort(key=key, reverse=best_first != sort.startswith("-"))
        found = known + [one for one in found if one.value(name) is None]
    return found


def _below(top: Path, alone: bool) -> list[Path]:
    """The folders of runs; those within a run are its own, and are not entered but for `alone`."""
    found = []
    for path, folders, _ in os.walk(top):
        here = Path(path)
        folders.sort()
        if RunFolder(here).exists() and (here / "processors").is_dir():
            found.append(here)
            folders[:] = [ALONE] if alone and (here / ALONE).is_dir() else []
        folders[:] = [name for name in folders if not name.startswith(".")]
    return found


def _line(folder: RunFolder, top: Path, split: str | None) -> RunLine:
    name = str(folder.path.relative_to(top))
    name = folder.path.resolve().name if name == "." else name
    changed = _changed(folder)
    try:
        config = folder.read_config()
        metrics = _metrics(folder, split)
        encoders = config.get("model", {}).get("encoders", {})
        objectives = config.get("objectives") or {}
        return RunLine(
            path=folder.path,
            run=name,
            status=status_of(folder),
            step=_step(folder),
            task=" + ".join(objectives) if objectives else config["task"]["name"],
            fusion="-" if len(encoders) < 2 else config["model"]["fusion"]["name"],
            modalities=" + ".join(encoders),
            seed=config.get("seed"),
            changed=changed,
            split=metrics[0],
            metrics=metrics[1],
            config=_flat(config),
        )
    except (CheckpointError, OSError, ValueError, KeyError, TypeError):
        return RunLine(folder.path, name, "damaged", None, "-", "-", "-", None, changed, "", {}, {})


def status_of(folder: RunFolder) -> str:
    """finished; training, where a process holds the run; stopped."""
    path = folder.path / "status.json"
    if path.is_file():
        return str(read_json(path)["status"])
    who = holder(folder.lock_file)
    return "training" if who is not None and who.alive() else "stopped"


def _step(folder: RunFolder) -> int | None:
    steps = [
        int(path.name)
        for path in (folder.checkpoints.iterdir() if folder.checkpoints.is_dir() else ())
        if path.name.isdigit()
    ]
    if folder.metrics.is_file():
        steps += [record["step"] for record in read_records(folder.metrics)[-1:]]
    return max(steps, default=None)


def _metrics(folder: RunFolder, split: str | None) -> tuple[str, dict[str, float]]:
    """Of the split that was asked for, or the last that was measured; of one in training, the last
    of the validation rows.
    """
    path = folder.path / "metrics.json"
    if path.is_file():
        every = read_json(path)
        name = split or list(every)[-1]
        if name in every:
            return name, {k: v for k, v in every[name].items() if v is not None}
    if split not in (None, "validation") or not folder.metrics.is_file():
        return split or "", {}
    for record in reversed(read_records(folder.metrics)):
        own = {k.removeprefix("validation/"): v for k, v in record.items() if "validation/" in k}
        if own:
            return "validation", {k: v for k, v in own.items() if v is not None}
    return "validation", {}


def _changed(folder: RunFolder) -> str:
    files = [folder.config, folder.metrics, folder.path / "metrics.json"]
    times = [path.stat().st_mtime for path in files if path.is_file()]
    when = datetime.datetime.fromtimestamp(max(times), datetime.UTC)
    return when.isoformat(sep=" ", timespec="minutes")[:16]


def _flat(config: Any, path: str = "") -> dict[str, Any]:
    """Settings by dotted path; a component's name is at the path itself."""
    if not isinstance(config, Mapping):
        return {path: config}
    found: dict[str, Any] = {}
    if path and isinstance(config.get("name"), str):
        found[path] = config["name"]
    for key, value in config.items():
        found |= _flat(value, f"{path}.{key}" if path else str(key))
    return found


def _test(condition: str, lines: Sequence[RunLine]) -> Callable[[RunLine], bool]:
    parsed = _CONDITION.fullmatch(condition.strip())
    if parsed is None:
        raise ConfigError(
            105, f"'{condition}' is no condition", fix="write NAME=VALUE, NAME>VALUE and the like"
        )
    name, sign, text = parsed.groups()
    _require(name, lines)
    wanted = _value(text)

    def holds(one: RunLine) -> bool:
        value = one.value(name)
        numbers = isinstance(value, int | float) and isinstance(wanted, int | float)
        if value is None:
            return sign == "!=" or (sign == "=" and wanted is None)
        if sign in ("=", "!="):
            same = value == wanted if numbers else str(value) == text
            return same == (sign == "=")
        return numbers and not math.isnan(value) and _COMPARED[sign](value, wanted)

    return holds


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _require(name: str, lines: Sequence[RunLine]) -> None:
    known = set(_FACTS)
    for one in lines:
        known |= one.metrics.keys() | one.config.keys()
    if lines and name not in known:
        raise ConfigError(105, f"no run has '{name}'", fix=nearest(name, known))


def _ordered(lines: Sequence[RunLine], name: str) -> Callable[[RunLine], Any]:
    """Numbers by size, all else by its text."""
    numbers = all(isinstance(one.value(name), int | float) for one in lines)
    return lambda one: one.value(name) if numbers else str(one.value(name))
