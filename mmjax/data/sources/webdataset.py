"""Rows from tar shards in the form of WebDataset."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.data.paths import MAX_BYTES
from mmjax.data.sources import shards
from mmjax.data.sources.contents import FAMILIES, REFUSED, below, decode
from mmjax.data.sources.index_files import cache_folder, load_index
from mmjax.data.sources.shards import File, LazyColumn, Opened, Rows
from mmjax.data.sources.tar_index import TarIndex, content
from mmjax.data.table import BadRow, Table

logger = logging.getLogger(__name__)

KEY = "__key__"
"""The column of the samples' names."""

_LOOKED_AT = 20


@dataclasses.dataclass(frozen=True)
class WebDataset:
    """Samples in tar files: neighbouring members with one name up to the first dot are a row.

    `paths` are files, with `{00000..00099}` and glob patterns; or `splits` are the paths of each
    split (`{"train": ("train-{000..099}.tar",), "validation": ("val-*.tar",)}`). `held_out` takes
    splits from `paths` by a hash of the keys (`{"validation": 0.001}`). Either serves where
    `data.split` is left at its defaults.

    `columns` maps a column to what holds it: extensions, the first that a sample has
    (`{"image": "jpg;png", "text": "txt;json:caption", "meta": "json"}`); `json:a.b` is a value
    inside. Without it, columns are `image`, `text`, `audio`, `video`, `label` and `json` for their
    usual extensions, `NAME` for `NAME.EXTENSION`, and the keys of the first JSON objects. Every row
    has its name in `__key__`.

    Shards are read in place and never unpacked. One pass over the headers makes an index, kept in
    `cache`; an index of DALI's beside a shard saves this pass. A cell is then one read at an offset
    when a batch wants it, so that rows have numbers: the order of training is a permutation of all
    rows that any process can compute for any step, as with every other source. It does not depend
    on the number of hosts and workers, resumes exactly, and is no shuffle of a window of a stream.
    The price is one random read an example: keep shards on a disk, not in a bucket.

    Archives are untrusted: links, devices and names that lead outside are ignored; pickles are
    refused; a shard that is cut off or damaged is a bad row (of policy `on_bad_sample`) at the
    offset where it broke, and gives its samples before that; compressed shards are refused.
    """

    paths: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    held_out: Mapping[str, float] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    check_ahead: bool = False
    """Reads every row before training, as small sets do, and not when a batch takes it."""
    max_bytes: int = MAX_BYTES
    """The largest member that is read."""
    max_members: int = 5_000_000
    """The most members of one shard."""
    cache: str | None = None
    """The folder of indexes; `mmjax/indexes` in the user's cache if None."""

    def __post_init__(self) -> None:
        shards.check_held_out(self.held_out, self.splits, "webdataset")
        for column, places in self.columns.items():
            for place in _places(places):
                if place.extension in REFUSED or not place.extension:
                    raise ConfigError(
                        106,
                        f"columns['{column}'] = '{places}'",
                        where="source webdataset",
                        fix="name extensions of data, such as 'jpg;png' or 'json:caption'",
                    )

    def read(self) -> Table:
        """All shards as one table. Raises DataError for a missing or sampleless shard."""
        named = shards.named_splits(self.paths, self.splits, "webdataset")
        paths = [path for part in named.values() for path in part]
        archive = _Archive(tuple(paths), cache_folder(self.cache), self.max_bytes, self.max_members)
        found = _Found()
        for index in map(archive.index, range(len(paths))):
            found.add(index)
        found.report()
        name = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} shards)"
        if not sum(found.counts):
            if found.bad:
                raise found.bad[0].error(len(found.bad) - 1)
            raise DataError(201, "the shards have 0 samples", where=name, fix="see their members")
        archive.rows = Rows(found.counts)
        columns = {key: _places(text) for key, text in self.columns.items()}
        _check_columns(columns, found.extensions, name)
        columns = columns or _columns(archive, found.extensions)
        count = len(archive.rows)
        splits = shards.split_rows(
            archive.rows,
            named,
            self.held_out,
            lambda: np.concatenate([archive.index(i).hashes for i in range(len(paths))]),
        )
        return Table(
            columns={
                KEY: LazyColumn(count, archive.key),
                **{key: LazyColumn(count, archive.cell, where) for key, where in columns.items()},
            },
            name=name,
            fingerprint=_fingerprint(paths, found.digests, columns, splits),
            bad=tuple(found.bad),
            splits=splits,
            places=LazyColumn(count, archive.place),
            lazy=not self.check_ahead,
        )


@dataclasses.dataclass(frozen=True)
class _Place:
    """What holds a column: a member's extension, and the path of keys in it."""

    extension: str
    path: str = ""


def _places(text: str) -> tuple[_Place, ...]:
    parts = [part.strip().partition(":") for part in text.split(";")]
    return tuple(_Place(ext.strip().lower().lstrip("."), path) for ext, _, path in parts)


class _Archive:
    """Shards whose members are read by offset."""

    def __init__(self, paths: tuple[Path, ...], cache: Path, max_bytes: int, max_members: int):
        self._paths, self._cache = paths, cache
        self._max_bytes, self._max_members = max_bytes, max_members
        self.rows = Rows([0])
        self._opened = Opened(self._open)

    def _open(self, shard: int) -> tuple[File, TarIndex]:
        path = self._paths[shard]
        return File(path), load_index(path, self._cache, max_members=self._max_members)

    def index(self, shard: int) -> TarIndex:
        return self._opened[shard][1]

    def key(self, row: int) -> str:
        shard, sample = self.rows.find(row)
        return self.index(shard).keys[sample]

    def place(self, row: int) -> str:
        """`shard.tar:key`."""
        shard, sample = self.rows.find(row)
        return f"{self._paths[shard]}:{self.index(shard).keys[sample]}"

    def cell(self, row: int, places: Sequence[_Place]) -> Any:
        """The first of the places that the sample has; None if it has none."""
        shard, sample = self.rows.find(row)
        file, index = self._opened[shard]
        for place in places:
            member = index.member(sample, place.extension)
            if member is None:
                continue
            where = f"{file.path}:{member.name}"
            if member.size > self._max_bytes:
                raise DataError(
                    309,
                    f"'{member.name}' has {member.size} bytes, over the limit of {self._max_bytes}",
                    where=where,
                    fix="shrink it or raise max_bytes",
                )
            cell = decode(content(file, member), place.extension, where)
            cell = below(cell, place.path) if place.path else cell
            if cell is not None:
                return cell
        return None


class _Found:
    """What the indexes of all shards say together."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.digests: list[str] = []
        self.extensions: dict[str, int] = {}
        self.bad: list[BadRow] = []
        self._ignored = 0

    def add(self, index: TarIndex) -> None:
        self.counts.append(len(index))
        self.digests.append(index.digest)
        self.bad += index.bad
        self._ignored += index.ignored
        for code, count in enumerate(np.bincount(index.extension).tolist()):
            name = index.extensions[code]
            self.extensions[name] = self.extensions.get(name, 0) + count

    def report(self) -> None:
        if self._ignored:
            logger.info(
                "%d entries of the shards are no files of a sample, and are ignored", self._ignored
            )


def _check_columns(
    columns: Mapping[str, Iterable[_Place]], extensions: Mapping[str, int], name: str
) -> None:
    for column, places in columns.items():
        wanted = [place.extension for place in places]
        if not any(extension in extensions for extension in wanted):
            raise DataError(
                214,
                f"no sample has a member of column '{column}' ({', '.join(wanted)})",
                where=name,
                fix=nearest(wanted[0], extensions),
            )


def _columns(archive: _Archive, extensions: Mapping[str, int]) -> dict[str, tuple[_Place, ...]]:
    """Columns by what members are called, and the keys of the first JSON objects."""
    found: dict[str, list[_Place]] = {}
    for family, usual in FAMILIES.items():
        if given := [extension for extension in usual if extension in extensions]:
            found[family] = [_Place(extension) for extension in given]
    plain = {place.extension for places in found.values() for place in places}
    for extension in extensions:
        name, _, kind = extension.rpartition(".")
        if extension not in plain and kind not in REFUSED:
            found.setdefault(name or extension, []).append(_Place(extension))
    if "json" in found:
        objects = []
        for row in range(min(len(archive.rows), _LOOKED_AT)):
            # A damaged one is told of when a batch takes it.
            with contextlib.suppress(DataError):
                objects.append(archive.cell(row, found["json"]))
        keys = itertools.chain.from_iterable(one for one in objects if isinstance(one, dict))
        for key in dict.fromkeys(keys):
            if "." not in key and key != KEY:
                found.setdefault(key, []).append(_Place("json", key))
    return {name: tuple(places) for name, places in found.items()}


def _fingerprint(
    paths: Sequence[Path],
    digests: Sequence[str],
    columns: Mapping[str, Sequence[_Place]],
    splits: Mapping[str, np.ndarray] | None,
) -> str:
    """Of the shards' names and headers, which hold names, sizes and times: media are not read."""
    digest = hashlib.sha256()
    for path, one in zip(paths, digests, strict=True):
        digest.update(f"{path.name} {one}\n".encode())
    digest.update(repr(sorted(columns.items())).encode())
    for name, rows in (splits or {}).items():
        digest.update(f"{name} {len(rows)}\n".encode())
    return digest.hexdigest()
