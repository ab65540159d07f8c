"""Every problem of a manifest, before anything is trained."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.api.choosing import INPUTS
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, MMJaxError, code_name, nearest
from mmjax.data import manifest, schema
from mmjax.data.config import DataConfig, sources
from mmjax.data.examined_rows import Told
from mmjax.data.kinds import KINDS, Column, column_of
from mmjax.data.problems import Problem
from mmjax.data.table import Table
from mmjax.data.validation import examine
from mmjax.train.config import Config
from mmjax.train.config_file import load_config

_ID_NAMES = ("id", "uuid", "guid")


@dataclasses.dataclass(frozen=True)
class Validation:
    """What was read, and every problem of it."""

    name: str
    rows: int
    present: Mapping[str, int]
    """Rows that have each modality."""
    splits: Mapping[str, int]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What training would stop at, or leave out."""
        return tuple(one for one in self.problems if one.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(one for one in self.problems if one.severity == "warning")

    @property
    def ok(self) -> bool:
        return not self.errors

    def lines(self) -> list[str]:
        """A line a problem, and what it comes to."""
        found = [str(one) for one in self.problems]
        counts = Counter(code_name(one.code) for one in self.problems)
        codes = f" ({', '.join(f'{n} {code}' for code, n in sorted(counts.items()))})"
        found += [f"{name}: in {count} of {self.rows} rows" for name, count in self.present.items()]
        if self.splits:
            found.append("splits: " + ", ".join(f"{k} {v}" for k, v in self.splits.items()))
        bad = len({one.where.rpartition(":")[0] or one.where for one in self.errors})
        told = f"{self.name}: {self.rows} rows, {len(self.errors)} problems"
        told += f" at {bad} places" if self.errors else ""
        told += f", {len(self.warnings)} warnings"
        return [*found, told + (codes if counts else "")]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rows": self.rows,
            "ok": self.ok,
            "present": dict(self.present),
            "splits": dict(self.splits),
            "problems": [one.as_json() for one in self.problems],
        }


def validate(
    data: Any = None,
    *,
    config: Config | str | os.PathLike | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    id_column: str | None = None,
    root: str | None = None,
    decode: bool = True,
    told: Told | None = None,
) -> Validation:
    """Every problem of a manifest or DataFrame with row, column and fix; nothing is trained.

    Rows that cannot be read, damaged cells and media that do not decode (unless `decode` is off),
    ids, splits and labels, rows that repeat and what they leak between splits. `config` (a config,
    its file, or a run's folder) says what the columns are; `data` stands in for its source. Without
    one they are told by their cells; `columns` overrides (`{"notes": "text"}`), `label` is what is
    to be predicted.

    Raises ConfigError for contradicting settings and an unknown column or kind; what is wrong with
    the data is returned.
    """
    if config is None and data is None:
        raise ConfigError(105, "nothing to validate", fix="give a manifest, or a config")
    if config is not None and (label or columns):
        raise ConfigError(105, "a config says what columns are", fix="leave out label and columns")
    frame = None if isinstance(data, (str, os.PathLike)) else data
    problems: tuple[Problem, ...] = ()
    if config is not None:
        settings = _settings(config)
        if data is not None:
            settings = dataclasses.replace(settings, source=manifest.source_for(data, root))
    else:
        settings = DataConfig(source=manifest.source_for(data, root))
        try:
            source = sources.build(settings.source, facts={"frame": data})
            table = getattr(source, "survey", source.read)()
        except MMJaxError as error:
            return Validation(_called(settings), 0, {}, {}, (Problem.of(error),))
        settings, problems = _inferred(settings, table, label, columns or {})
    if id_column is not None:
        settings = dataclasses.replace(settings, id_column=id_column)
    found = examine(settings, frame=frame, decode=decode, told=told)
    name = _called(settings) if found.table is None else found.table.name
    return Validation(name, found.rows, found.present, found.splits, (*problems, *found.problems))


def _called(settings: DataConfig) -> str:
    return str(settings.source.options.get("path", settings.source.name))


def _settings(config: Config | str | os.PathLike) -> DataConfig:
    if isinstance(config, Config):
        return config.data
    if Path(config).is_dir():
        return config_lib.from_json(Config, RunFolder(Path(config)).open().read_config()).data
    return load_config(Path(config)).data


def _inferred(
    settings: DataConfig, table: Table, label: str | None, said: Mapping[str, str]
) -> tuple[DataConfig, tuple[Problem, ...]]:
    """The settings that the cells suggest, as `fit` would choose them."""
    for name, kind in said.items():
        table.column(name)
        if kind not in KINDS:
            raise ConfigError(106, f"'{kind}' is no kind of column", fix=nearest(kind, KINDS))
    split = schema.split_of(table, label or "")
    columns = [
        Column(name, said[name], "you said so")  # type: ignore[arg-type]
        if name in said
        else column_of(table, name)
        for name in table.columns
        if name not in (label, split.column)
    ]
    ids = [name for name in table.columns if name.strip().casefold() in _ID_NAMES]
    columns = [one for one in columns if one.kind in INPUTS and one.name not in ids]
    targets = {}
    problems: tuple[Problem, ...] = ()
    if label is not None:
        table.column(label)
        try:
            target, _ = schema.target_of(table, label)
            targets = {"label": target}
        except MMJaxError as error:
            problems = (Problem.of(error),)
    inferred = dataclasses.replace(
        settings,
        modalities=schema.propose(columns),
        targets=targets,
        split=split,
        id_column=ids[0] if ids else None,
    )
    return inferred, problems
