"""Rows from ArrayRecord files of MessagePack maps."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from mmjax.core.errors import DataError
from mmjax.core.typing import Shaped
from mmjax.data import records
from mmjax.data.bits import mixed
from mmjax.data.paths import MAX_BYTES
from mmjax.data.sources import shards
from mmjax.data.sources.shards import LazyColumn, Opened, Rows
from mmjax.data.table import BadRow, Table

KEY = "__key__"


@dataclasses.dataclass(frozen=True)
class ArrayRecord:
    """Records by number in ArrayRecord files, the format that Grain and TFDS read.

    Each record is a MessagePack map `{column: None | text | number | bytes | array | list | map}`,
    as `mmjax pack --format arrayrecord` writes it; data sets of TensorFlow's examples are read by
    the source `tfds`. `paths`, `splits` and `held_out` are as of `webdataset`, where a sample of
    `held_out` is known by its shard's name and its number. Columns are those of the shards' first
    records, and `__key__`, the shard's name and the number unless the records have one.

    The files carry checksums: a damaged record is a bad row, and so is a shard that is cut off, of
    which nothing can be read. The library uncompresses a record before its size is known (`mmjax
    pack` does not compress), so shards of strangers are safer as tar files.
    """

    paths: tuple[str, ...] = ()
    splits: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    held_out: Mapping[str, float] = dataclasses.field(default_factory=dict)
    check_ahead: bool = False
    """Reads every row before training, as small sets do, and not when a batch takes it."""
    max_bytes: int = MAX_BYTES
    """The largest record that is taken for a row."""

    def __post_init__(self) -> None:
        shards.check_held_out(self.held_out, self.splits, "arrayrecord")

    def read(self) -> Table:
        """All shards as one table. Raises DataError for a missing shard, and if none has a row."""
        named = shards.named_splits(self.paths, self.splits, "arrayrecord")
        paths = [path for part in named.values() for path in part]
        archive = _Archive(tuple(paths), self.max_bytes)
        counts, columns, bad, digest = [], {KEY: None}, [], hashlib.sha256()
        for shard, path in enumerate(paths):
            count = archive.count(shard)
            counts.append(count)
            digest.update(f"{path.name} {path.stat().st_size} {count}\n".encode())
            if not count:
                size = path.stat().st_size
                message = "no ArrayRecord file, or one that is cut off: it has no record"
                bad.append(BadRow(str(path), size, None, 240, message, "write or copy it again"))
                continue
            try:
                first = archive.record(shard, 0)
                digest.update(first)
                columns |= dict.fromkeys(records.decode(first, f"{path}:0"))
            except DataError:
                digest.update(b"damaged")
        name = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({len(paths)} shards)"
        if not sum(counts):
            raise bad[0].error(len(bad) - 1)
        archive.rows = Rows(counts)
        total = len(archive.rows)
        splits = shards.split_rows(
            archive.rows,
            named,
            self.held_out,
            lambda: np.concatenate(
                [_hashes(path, count) for path, count in zip(paths, counts, strict=True)]
            ),
        )
        for split, rows in (splits or {}).items():
            digest.update(f"{split} {len(rows)}\n".encode())
        return Table(
            columns={column: LazyColumn(total, archive.cell, column) for column in columns},
            name=name,
            fingerprint=digest.hexdigest(),
            bad=tuple(bad),
            splits=splits,
            places=LazyColumn(total, archive.place),
            lazy=not self.check_ahead,
        )


class _Archive:
    """Shards whose records are read by number."""

    def __init__(self, paths: tuple[Path, ...], max_bytes: int):
        self._paths, self._max_bytes = paths, max_bytes
        self.rows = Rows([0])
        self._opened: Opened[Any] = Opened(self._open)

    def _open(self, shard: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        # Neighbours in a file are not neighbours in a batch.
        return ArrayRecordReader(str(self._paths[shard]), "readahead_buffer_size:0")

    def count(self, shard: int) -> int:
        try:
            return self._opened[shard].num_records()
        except RuntimeError:
            return 0

    def record(self, shard: int, number: int) -> bytes:
        where = f"{self._paths[shard]}:{number}"
        try:
            (record,) = self._opened[shard].read([number])
        except (RuntimeError, ValueError) as error:
            raise DataError(
                246, f"the record is damaged: {error}", where=where, fix="write the shard again"
            ) from error
        if len(record) > self._max_bytes:
            raise DataError(
                309,
                f"a record of {len(record)} bytes, over the limit of {self._max_bytes}",
                where=where,
                fix="shrink it or raise max_bytes",
            )
        return record

    def place(self, row: int) -> str:
        """`file:number`."""
        shard, number = self.rows.find(row)
        return f"{self._paths[shard]}:{number}"

    def cell(self, row: int, column: str) -> Any:
        shard, number = self.rows.find(row)
        found = records.decode(self.record(shard, number), self.place(row))
        if column == KEY and found.get(KEY) is None:
            return f"{self._paths[shard].stem}/{number:09d}"
        return found.get(column)


def _hashes(path: Path, count: int) -> Shaped[np.ndarray, "n"]:
    seed = np.uint64(xxhash.xxh3_64_intdigest(path.name.encode()))
    return mixed(mixed(np.arange(count, dtype=np.uint64) + np.uint64(1)) ^ seed)
