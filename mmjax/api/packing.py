"""From any source to shards: what web-scale training reads."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import atomic, write_json
from mmjax.core.registry import Spec
from mmjax.data import manifest
from mmjax.data.config import DataConfig, SplitConfig, modalities
from mmjax.data.kinds import column_of, split_column
from mmjax.data.media_cells import embedded
from mmjax.data.shard_writers import SUFFIXES, Format, Layout, Shard, new_shard
from mmjax.data.splits import Splits, make_splits
from mmjax.data.table import Table

logger = logging.getLogger(__name__)

_KEY = "__key__"
_MEDIA = ("image", "audio", "video", "volume", "points")
_SIZE = re.compile(r"([0-9]+) ?([kmg]b)?", re.IGNORECASE)
_UNITS = {"kb": 2**10, "mb": 2**20, "gb": 2**30}
_ALONE = "shard"
"""What shards are called that are of no split."""


def pack(
    data: Any,
    to: str | Path,
    *,
    format: Format = "webdataset",
    shard_size: str = "500MB",
    root: str | None = None,
    columns: Sequence[str] = (),
    media: Sequence[str] | None = None,
    skip_bad: bool = False,
) -> Spec:
    """Writes the rows of a data set as shards, and returns the source that reads them.

    `data` is a config (its source, joins and splits), a manifest's path, a DataFrame or an embedded
    set's name. A shard ends at `shard_size`: rows ("10000") or bytes ("500MB"). Rows keep their
    order; each split of a config, or of a column that names splits, has shards of its own
    (`train-00000.tar`). `columns` are all unless named. Files named in the columns `media` are
    written byte for byte as they are; those are, unless named, the columns of the config's
    pictures, sounds and videos, or the ones of a manifest that look like it. `source.json` keeps
    the source.

    Raises DataError for the first row that cannot be read or written; with `skip_bad` such rows are
    left out and listed in `quarantine.jsonl`. Raises ConfigError for a folder that is not empty.
    """
    if format not in SUFFIXES:
        raise ConfigError(106, f"no format '{format}'", fix=nearest(format, SUFFIXES))
    limit, folder = _Limit.of(shard_size), Path(to)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(116, f"'{folder}' is no empty folder", fix="give a new one")
    table, splits, found = _load(data, root, skip_bad)
    chosen = tuple(columns) or tuple(name for name in table.columns if name != _KEY)
    for name in (*chosen, *(media or ())):
        table.column(name)
    packer = _Packer(table, chosen, frozenset(found if media is None else media), skip_bad, limit)
    folder.mkdir(parents=True, exist_ok=True)
    layout = Layout(chosen)
    shards: dict[str, tuple[str, ...]] = {}
    for split, rows in splits.items():
        written: list[str] = []
        left = rows.tolist()
        while left:
            path = folder / f"{split}-{len(written):05d}{SUFFIXES[format]}"
            with new_shard(path, format, layout) as shard:
                left = left[packer.fill(shard, left) :]
            if not shard.rows:
                path.unlink()
                break
            written.append(str(path))
            logger.info("wrote %s", path)
        shards[split] = tuple(written)
    if packer.bad:
        with atomic(folder / "quarantine.jsonl") as file:
            file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in packer.bad)
    options: dict[str, Any] = {"columns": layout.columns} if format == "webdataset" else {}
    alone = shards.get(_ALONE)
    spec = Spec(format, **({"paths": alone} if alone else {"splits": shards}), **options)
    write_json(folder / "source.json", {"name": spec.name, **spec.options})
    return spec


@dataclasses.dataclass(frozen=True)
class _Limit:
    """Where a shard ends."""

    rows: int
    size: int

    @classmethod
    def of(cls, text: str) -> _Limit:
        parsed = _SIZE.fullmatch(str(text).strip())
        number = int(parsed[1]) if parsed else 0
        if parsed is None or not number:
            raise ConfigError(
                106, f"shard_size = '{text}'", fix="write rows, '10000', or bytes, '500MB'"
            )
        unit = (parsed[2] or "").lower()
        return cls(2**62, number * _UNITS[unit]) if unit else cls(number, 2**62)


class _Packer:
    """Fills shards with rows."""

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        media: frozenset[str],
        skip_bad: bool,
        limit: _Limit,
    ):
        self._table, self._columns, self._media = table, columns, media
        self._keys = table.columns.get(_KEY)
        self._skip_bad, self._limit = skip_bad, limit
        self.bad: list[dict[str, Any]] = [
            {"row": None, "where": f"{bad.name}:{bad.line}", "code": bad.code, "what": bad.message}
            for bad in table.bad
        ]

    def fill(self, shard: Shard, rows: Sequence[int]) -> int:
        """Writes rows until the shard is full; returns how many were dealt with."""
        for done, row in enumerate(rows):
            if shard.rows >= self._limit.rows or shard.size >= self._limit.size:
                return done
            try:
                key = f"{row:09d}" if self._keys is None else self._keys[row]
                shard.write(key, self._row(row), self._table.where(row))
            except DataError as error:
                if not self._skip_bad:
                    raise
                where = error.where or self._table.where(row)
                self.bad.append(
                    {"row": row, "where": where, "code": error.code, "what": error.what}
                )
        return len(rows)

    def _row(self, row: int) -> dict[str, Any]:
        found = {}
        for name in self._columns:
            cell = self._table.column(name)[row]
            if name in self._media:
                where = self._table.where(row, name)
                cell = embedded(cell, root=self._table.root_of(name, row), where=where)
            found[name] = cell
        return found


def _load(data: Any, root: str | None, skip_bad: bool) -> tuple[Table, Splits, list[str]]:
    """The table, the rows of each split, and the columns that hold media."""
    given = getattr(data, "data", None)
    config = given if isinstance(given, DataConfig) else None
    if config is not None:
        limits: dict[str, Any] = {"on_bad_sample": "quarantine", "max_bad": 2**62}
        limits["max_bad_fraction"] = 1.0
        table, _ = manifest.load(dataclasses.replace(config, **limits) if skip_bad else config)
        media = list(_media_columns(config))
    else:
        table = manifest.read(data, root)
        media = [name for name in table.columns if column_of(table, name).kind in _MEDIA]
    if not skip_bad:
        table.require_good()
    return table, _splits(table, config), media


def _media_columns(config: DataConfig) -> Iterator[str]:
    for spec in config.modalities.values():
        if spec.name in _MEDIA:
            yield from modalities.build(spec).reads()


def _splits(table: Table, config: DataConfig | None) -> Splits:
    if table.splits is not None and (config is None or config.split == SplitConfig()):
        return dict(table.splits)
    if config is not None:
        labels = [spec.options.get("column") for spec in config.targets.values()]
        return make_splits(table, config.split, labels[0] if len(labels) == 1 else None)
    column = split_column(table)
    if column is None:
        return {_ALONE: np.arange(len(table))}
    found = {str(cell).strip().casefold() for cell in table.column(column)}
    names = {split: names for split, names in SplitConfig().names.items() if found & {*names}}
    return make_splits(table, SplitConfig(column=column, names=names))
