"""Rows to shards: each file is whole or absent, and the same rows make the same bytes."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.files import atomic_path
from mmjax.data import records
from mmjax.data.cells import shown
from mmjax.data.sources.contents import FAMILIES, require_shallow

Format = Literal["webdataset", "arrayrecord"]
SUFFIXES: Mapping[Format, str] = {"webdataset": ".tar", "arrayrecord": ".array_record"}

_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"\xff\xd8\xff", 0, "jpg"),
    (b"\x89PNG\r\n", 0, "png"),
    (b"WEBP", 8, "webp"),
    (b"GIF8", 0, "gif"),
    (b"BM", 0, "bmp"),
    (b"II*\0", 0, "tif"),
    (b"MM\0*", 0, "tif"),
    (b"WAVE", 8, "wav"),
    (b"fLaC", 0, "flac"),
    (b"OggS", 0, "ogg"),
    (b"ID3", 0, "mp3"),
    (b"ftyp", 4, "mp4"),
    (b"\x1aE\xdf\xa3", 0, "mkv"),
)
_PLAIN_NAME = re.compile("[a-z0-9_-]+")
_KEY = re.compile(r"[\w/-]+", re.ASCII)
_BLOCK = 512


class Shard(Protocol):
    """One shard that is being written."""

    rows: int
    size: int
    """Bytes so far, about."""

    def write(self, key: str, row: Mapping[str, Any], where: str) -> None:
        """Adds a row. Raises DataError, adding nothing, for a cell that the format cannot hold."""


@contextlib.contextmanager
def new_shard(path: Path, form: Format, layout: Layout) -> Iterator[Shard]:
    """A shard that is at `path` if the block succeeds."""
    with atomic_path(path) as temporary:
        if form == "webdataset":
            with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
                yield _TarShard(tar, layout)
        else:
            from array_record.python.array_record_module import ArrayRecordWriter

            # Media are compressed already, and a group of one is what random access reads.
            writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
            try:
                yield _RecordShard(writer)
            finally:
                writer.close()


class Layout:
    """What members of tar shards are called, the same in all shards of a set.

    A column `image` of PNGs is `KEY.png`, any other `KEY.COLUMN.png`; a column `text` is `KEY.txt`;
    text, numbers, lists and maps of the other columns are together in `KEY.json`.
    """

    def __init__(self, columns: Sequence[str]):
        self._names = {
            name: name if _PLAIN_NAME.fullmatch(name) else f"column{i}"
            for i, name in enumerate(columns)
        }
        self._places: dict[str, dict[str, None]] = {name: {} for name in columns}

    @property
    def columns(self) -> dict[str, str]:
        """`WebDataset.columns` for what was written."""
        return {name: ";".join(places) for name, places in self._places.items() if places}

    def member(self, column: str, kind: str) -> str:
        """The extension of the member that holds a cell of this kind ("png", "npy", ...)."""
        name = self._names[column]
        extension = kind if kind in FAMILIES.get(column, ()) else f"{name}.{kind}"
        self._places[column][extension] = None
        return extension

    def value(self, column: str) -> str:
        """The key in the JSON member."""
        name = self._names[column]
        self._places[column][f"json:{name}"] = None
        return name


class _TarShard:
    def __init__(self, tar: tarfile.TarFile, layout: Layout):
        self.rows = self.size = 0
        self._tar, self._layout = tar, layout

    def write(self, key: str, row: Mapping[str, Any], where: str) -> None:
        members, values = {}, {}
        for column, cell in row.items():
            if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
                cell = cell["bytes"]
            if column == "text" and isinstance(cell, str):
                members[self._layout.member(column, "txt")] = cell.encode()
            elif isinstance(cell, bytes):
                members[self._layout.member(column, kind_of(cell))] = cell
            elif isinstance(cell, np.ndarray):
                file = io.BytesIO()
                np.save(file, cell, allow_pickle=False)
                members[self._layout.member(column, "npy")] = file.getvalue()
            elif cell is not None:
                values[self._layout.value(column)] = cell
        if values:
            members["json"] = _json(values, where)
        if not _KEY.fullmatch(key):
            raise _unfit(f"the key '{shown(key)}'", where)
        for extension, content in members.items():
            entry = tarfile.TarInfo(f"{key}.{extension}")
            entry.size = len(content)
            self._tar.addfile(entry, io.BytesIO(content))
            self.size += _BLOCK - (-len(content) // _BLOCK) * _BLOCK
        self.rows += 1


class _RecordShard:
    def __init__(self, writer: Any):
        self.rows = self.size = 0
        self._writer = writer

    def write(self, key: str, row: Mapping[str, Any], where: str) -> None:
        record = records.encode({"__key__": key, **row}, where)
        self._writer.write(record)
        self.rows, self.size = self.rows + 1, self.size + len(record)


def kind_of(content: bytes) -> str:
    """The usual extension of a medium, by its first bytes; "bin" for others."""
    for magic, start, kind in _MAGIC:
        if content[start : start + len(magic)] == magic:
            return kind
    # An MP3 without a tag begins with a frame: eleven bits, a version and a layer.
    return (
        "mp3" if content[:1] == b"\xff" and content[1:2] in (b"\xfb", b"\xf3", b"\xf2") else "bin"
    )


def _json(values: Mapping[str, Any], where: str) -> bytes:
    try:
        require_shallow(dict(values))
        return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise _unfit(f"the row ({error})", where) from error


def _unfit(what: str, where: str) -> DataError:
    return DataError(
        247,
        f"{what} does not fit into a tar shard",
        where=where,
        fix="write arrayrecord, or leave the column out",
    )
