"""Committed results, measured again: from their config, data and seeds, with a band to pass in.

The table of them is `results.json` beside this file, which `python -m benchmarks.catalog` writes
out of `benchmarks/results`. Those of kind "config" are trained by this package alone; those of kind
"program" need the repository, whose program measures them; those "by hand" say what to do.
"""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmjax.api.run import load_run
from mmjax.api.training import train
from mmjax.checkpoint.run_folder import RunFolder, json_hash
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import read_json
from mmjax.data import manifest
from mmjax.train.config import Config
from mmjax.train.trainer import finished

Kind = Literal["config", "program", "by hand"]
_DEVIATIONS = 3.0


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number that was measured once a run, where it stands in a result, and what may come again.

    `path` leads to it from each item of the list `of` for which all of `where` holds, or from the
    top. Of several runs the mean counts. It passes within `factor` (a ratio, above 1) of the
    committed mean where there is one, otherwise within three standard errors of the difference of
    two means, and `least` in any case.
    """

    name: str
    values: tuple[float, ...]
    path: tuple[str, ...]
    of: str = ""
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    least: float = 0.0
    factor: float | None = None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    def band(self, runs: int) -> tuple[float, float]:
        """From where to where the mean of so many runs passes."""
        if self.factor is not None:
            return self.mean / self.factor, self.mean * self.factor
        spread = statistics.stdev(self.values) if len(self.values) > 1 else 0.0
        width = _DEVIATIONS * spread * math.sqrt(1 / len(self.values) + 1 / max(1, runs))
        width = max(width, self.least)
        return self.mean - width, self.mean + width

    def read(self, result: Any) -> list[float]:
        """The figure's values in a result."""
        items = result[self.of] if self.of else [result]
        found = []
        for item in items:
            if all(item.get(name) == value for name, value in self.where.items()):
                value = item
                for name in self.path:
                    value = value[name]
                found.append(float(value))
        return found


@dataclasses.dataclass(frozen=True)
class Result:
    """A committed result, and what measures it again."""

    id: str
    what: str
    kind: Kind
    result: str
    """Its file in benchmarks/results, without the suffix."""
    date: str
    device: str
    figures: tuple[Figure, ...]
    seeds: tuple[int, ...] = ()
    config: Mapping[str, Any] | None = None
    config_hash: str = ""
    data_hash: str = ""
    """The fingerprint of the table; empty where it was not known when the result was written."""
    split: str = "test"
    command: tuple[str, ...] = ()
    """Of a program, with `{out}` for the folder of its result."""
    needs: str = ""
    cost: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A figure that was measured again."""

    figure: Figure
    values: tuple[float, ...]

    @property
    def band(self) -> tuple[float, float]:
        return self.figure.band(len(self.values))

    @property
    def passed(self) -> bool:
        low, high = self.band
        return bool(self.values) and low <= statistics.fmean(self.values) <= high


def results() -> dict[str, Result]:
    """Every committed result by its id."""
    text = (importlib.resources.files("mmjax.api") / "results.json").read_text(encoding="utf-8")
    found = {}
    for one in json.loads(text):
        figures = tuple(
            Figure(**{**f, "values": tuple(f["values"]), "path": tuple(f["path"])})
            for f in one.pop("figures")
        )
        lists = {name: tuple(one[name]) for name in ("seeds", "command") if name in one}
        fields: dict[str, Any] = {**one, **lists, "figures": figures}
        found[one["id"]] = Result(**fields)
    return found


def reproduce(
    name: str,
    *,
    workdir: str | os.PathLike | None = None,
    seeds: Sequence[int] | None = None,
    settings: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Measures a committed result again and holds each of its figures against the band.

    Config and data must be those of then, by their hashes. `seeds` are those of then unless given;
    `settings` change the config, and so what is measured. Runs are kept in `workdir` if given, and
    finished ones there are not trained again.

    Raises ConfigError for an id that is none, for a program without its repository, and for what
    can only be done by hand; DataError for other data.
    """
    known = results()
    if name not in known:
        raise ConfigError(105, f"no result '{name}'", fix=nearest(name, known))
    one = known[name]
    if one.kind == "by hand":
        steps = shlex.join(one.command) or f"see benchmarks/results/{one.result}.md"
        raise ConfigError(109, f"'{name}' is measured by hand: {one.needs}", fix=steps)
    if seeds is not None and not one.seeds:
        raise ConfigError(105, f"'{name}' has no seeds", fix="leave out --seed")
    chosen = tuple(one.seeds if seeds is None else seeds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary if workdir is None else workdir)
        if one.kind == "program":
            return _by_program(one, folder, chosen, seeds is not None, settings, tell)
        return _by_config(one, folder, chosen, settings, tell)


def _by_config(
    one: Result,
    folder: Path,
    seeds: Sequence[int],
    settings: Sequence[str],
    tell: Callable[[str], None],
) -> list[Outcome]:
    assert one.config is not None
    if json_hash(one.config) != one.config_hash:
        raise ConfigError(110, f"the config of '{one.id}' is not what it was", fix="mend the table")
    config = config_lib.override(config_lib.from_json(Config, one.config), settings)
    if one.data_hash and not any("data.source" in change for change in settings):
        table, _ = manifest.load(config.data)
        if table.fingerprint != one.data_hash:
            raise DataError(
                223,
                f"the data of '{one.id}' is not what it was",
                where=table.name,
                fix="restore it: " + (one.needs or "the embedded set of this version"),
            )
    values: dict[str, list[float]] = {figure.name: [] for figure in one.figures}
    for seed in seeds:
        path = folder / f"{one.id}-seed-{seed}"
        if not finished(RunFolder(path)):
            train(config_lib.override(config, [f"seed={seed}"]), path)
        found = load_run(path).evaluate(split=one.split)
        for figure in one.figures:
            values[figure.name].append(float(found[figure.path[-1]]))
        told = ", ".join(f"{f.name} {values[f.name][-1]:.4f}" for f in one.figures)
        tell(f"seed {seed}: {told}")
    return [Outcome(figure, tuple(values[figure.name])) for figure in one.figures]


def _by_program(
    one: Result,
    folder: Path,
    seeds: Sequence[int],
    said: bool,
    settings: Sequence[str],
    tell: Callable[[str], None],
) -> list[Outcome]:
    if settings:
        raise ConfigError(105, f"settings of '{one.id}', a program", fix="run it by hand")
    repository = repository_of(Path.cwd())
    if repository is None:
        raise ConfigError(
            109,
            f"'{one.id}' needs the repository: its program is {one.command[1]}",
            fix="clone it, and run this in its folder",
        )
    out = (folder / one.id).resolve()
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", *(part.format(out=out) for part in one.command[1:])]
    if said:
        command += ["--seeds", *map(str, seeds)]
    tell(shlex.join(command[1:]))
    done = subprocess.run(command, cwd=repository, check=False)
    path = out / f"{one.result}.json"
    if done.returncode or not path.is_file():
        raise ConfigError(
            109,
            f"the program of '{one.id}' ended with {done.returncode}",
            where=str(repository),
            fix=one.needs or "see what it says",
        )
    result = read_json(path)
    return [Outcome(figure, tuple(figure.read(result))) for figure in one.figures]


def repository_of(folder: Path) -> Path | None:
    """The repository that a folder is in; None where there is none."""
    for path in (folder, *folder.parents):
        if (path / "benchmarks" / "catalog.py").is_file() and (path / "configs").is_dir():
            return path
    return None
