"""Rows of manifests in blocks: planned in one pass, each block read again by whoever has it."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from mmjax.core.errors import DataError, nearest
from mmjax.core.files import digest_file
from mmjax.core.registry import Spec
from mmjax.data.cells import clean_text
from mmjax.data.manifest import SUFFIXES
from mmjax.data.sources.csv import field_limit, header_of, ragged_row
from mmjax.data.sources.files import existing, root_of
from mmjax.data.sources.jsonl import read_lines
from mmjax.data.sources.parquet import ArrowColumn

_BOM = b"\xef\xbb\xbf"


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows that are answered together: bytes `start` to `stop` of a text file, or of a Parquet file
    those rows of a row group.
    """

    number: int
    file: int
    first: int
    """The number of its first row among all rows."""
    rows: int
    start: int
    stop: int
    group: int = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """What it takes to read a block: JSON values."""

    files: tuple[str, ...]
    root: str | None
    columns: tuple[str, ...]
    """Those that are read."""
    headers: tuple[tuple[str, ...], ...]
    """The columns of each file."""
    id_column: str | None

    def read(self, block: Block) -> list[dict[str, Any]]:
        """The cells of each row of a block by column, what it lacks being None."""
        path = Path(self.files[block.file])
        columns = dict.fromkeys((*self.columns, *filter(None, [self.id_column])))
        found: Mapping[str, Sequence[Any]]
        if path.suffix.lower() == ".parquet":
            found = _parquet_rows(path, block, columns)
        elif SUFFIXES[path.suffix.lower()].name == "csv":
            found = _csv_rows(path, block, self.headers[block.file])
        else:
            name = str(path)
            table = read_lines(io.BytesIO(_slice(path, block)), name, fingerprint="")
            found = table.columns
        cells = {name: found.get(name, [None] * block.rows) for name in columns}
        if any(len(one) != block.rows for one in cells.values()):
            raise DataError(223, "the rows are not those that were planned", where=str(path))
        return [{name: one[row] for name, one in cells.items()} for row in range(block.rows)]

    def root_of(self, block: Block) -> Path:
        """The folder that the media of a block are relative to."""
        return root_of(Path(self.files[block.file]), self.root)


@dataclasses.dataclass(frozen=True)
class Plan:
    """All blocks of a source, and what tells it from other rows."""

    source: Source
    blocks: tuple[Block, ...]
    rows: int
    digest: str


def plan(
    data: str | Path,
    *,
    columns: Sequence[str],
    size: int,
    root: str | None = None,
    id_column: str | None = None,
    wanted_id: str | None = None,
) -> Plan:
    """Blocks of at most `size` rows of a manifest, or of all manifests in a folder by name.

    `id_column` must be there and have a value of its own in each row; `wanted_id` does so where it
    is there, and rows are known by their numbers where it is not. Raises DataError for files that
    are no manifests, rows that cannot be read, columns that are not there, and ids that are missing
    or occur twice.
    """
    files = files_of(Path(data))
    headers: list[tuple[str, ...]] = []
    blocks: list[Block] = []
    rows = 0
    for index, path in enumerate(files):
        header, found = _planned(path, size)
        for column in (*columns, *filter(None, [id_column])):
            if column not in header:
                fix = nearest(column, header) + "; empty cells are missing modalities"
                raise DataError(214, f"no column '{column}'", where=str(path), fix=fix)
        headers.append(header)
        for one in found:
            number = len(blocks)
            blocks.append(dataclasses.replace(one, number=number, file=index, first=rows))
            rows += one.rows
    named = wanted_id is not None and all(wanted_id in one for one in headers)
    chosen = id_column or (wanted_id if named else None)
    source = Source(tuple(map(str, files)), root, tuple(columns), tuple(headers), chosen)
    if chosen is not None:
        _check_ids(dataclasses.replace(source, columns=()), blocks, chosen)
    digest = xxhash.xxh3_128("".join(map(digest_file, files)).encode()).hexdigest()
    return Plan(source, tuple(blocks), rows, digest)


def files_of(data: Path) -> list[Path]:
    """The manifest, or those in a folder by name. Raises DataError where there is none."""
    if data.is_dir():
        found = [one for one in sorted(data.iterdir()) if one.suffix.lower() in SUFFIXES]
        if not found:
            raise DataError(201, f"'{data}' has no manifest", fix="give " + ", ".join(SUFFIXES))
        return [existing(one) for one in found]
    if data.suffix.lower() not in SUFFIXES:
        raise DataError(201, f"'{data}' is no manifest", fix="give " + ", ".join(SUFFIXES))
    return [existing(data)]


def _planned(path: Path, size: int) -> tuple[tuple[str, ...], list[Block]]:
    """The header of a file, and its blocks but for what number they are."""
    spec = SUFFIXES[path.suffix.lower()]
    if spec.name == "parquet":
        header, blocks = _plan_parquet(path, size)
    elif spec.name == "csv":
        header, blocks = _plan_csv(path, spec, size)
    else:
        header, blocks = _plan_jsonl(path, size)
    if not blocks:
        raise DataError(201, "manifest has 0 rows", where=str(path), fix="write rows")
    return header, blocks


class _Lines:
    """The lines of a text file, and how far they have been read."""

    def __init__(self, file: io.BufferedReader, path: Path):
        self._file, self._path = file, path
        self.at = 0

    def __iter__(self) -> Iterator[str]:
        for raw in self._file:
            self.at += len(raw)
            try:
                yield raw.removeprefix(_BOM).decode() if self.at == len(raw) else raw.decode()
            except UnicodeDecodeError as error:
                what = f"the bytes from offset {self.at - len(raw) + error.start} on are not utf-8"
                raise DataError(206, what, where=str(self._path), fix="convert the file") from error


def _plan_csv(path: Path, spec: Spec, size: int) -> tuple[tuple[str, ...], list[Block]]:
    delimiter = spec.options.get("delimiter", ",")
    blocks = []
    with field_limit(), path.open("rb") as file:
        lines = _Lines(file, path)
        reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
        try:
            header = header_of(next(reader, []), path)
            start, rows = lines.at, 0
            for row in reader:
                if row and len(row) != len(header):
                    raise ragged_row(str(path), reader.line_num, len(row), len(header)).error()
                if any("\0" in cell for cell in row):
                    where = f"{path}:{reader.line_num}"
                    raise DataError(207, "NUL in a field", where=where, fix="remove it")
                rows += bool(row)
                if rows == size:
                    blocks.append(Block(0, 0, 0, rows, start, lines.at))
                    start, rows = lines.at, 0
        except csv.Error as error:
            where = f"{path}:{reader.line_num}"
            raise DataError(202, f"bad CSV: {error}", where=where, fix="see the quotes") from error
        if rows:
            blocks.append(Block(0, 0, 0, rows, start, lines.at))
    return tuple(header), blocks


def _csv_rows(path: Path, block: Block, header: Sequence[str]) -> dict[str, list[str | None]]:
    delimiter = SUFFIXES[path.suffix.lower()].options.get("delimiter", ",")
    text = io.StringIO(_slice(path, block).decode(), newline="")
    rows = [row for row in csv.reader(text, delimiter=delimiter, strict=True) if row]
    return {
        name: [clean_text(row[place]) if row[place] else None for row in rows]
        for place, name in enumerate(header)
    }


def _plan_jsonl(path: Path, size: int) -> tuple[tuple[str, ...], list[Block]]:
    blocks: list[Block] = []
    keys: dict[str, None] = {}
    with path.open("rb") as file:
        start, number = 0, 1
        while lines := list(itertools.islice(file, size)):
            stop = start + sum(map(len, lines))
            rows = sum(bool(one.strip()) for one in lines)
            if rows:
                whole = io.BytesIO(b"".join(lines))
                table = read_lines(whole, str(path), fingerprint="", first=number)
                table.require_good()
                keys |= dict.fromkeys(table.columns)
                blocks.append(Block(0, 0, 0, rows, start, stop))
            start, number = stop, number + len(lines)
    return tuple(keys), blocks


def _plan_parquet(path: Path, size: int) -> tuple[tuple[str, ...], list[Block]]:
    file = _parquet(path)
    blocks = []
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            blocks.append(Block(0, 0, 0, stop - start, start, stop, group))
    return tuple(map(str, file.schema_arrow.names)), blocks


def _parquet_rows(path: Path, block: Block, columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    group = _row_group(path, block.group, tuple(columns))
    part = group.slice(block.start, block.rows)
    return {name: list(ArrowColumn(part.column(name))) for name in columns}


@functools.lru_cache(maxsize=1)
def _row_group(path: Path, group: int, columns: tuple[str, ...]) -> Any:
    """Kept for the next block, which is often of the same group."""
    return _parquet(path).read_row_group(group, columns=list(columns))


def _parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path, memory_map=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        what = f"damaged Parquet: {error}"
        raise DataError(215, what, where=str(path), fix="write it again") from error


def _slice(path: Path, block: Block) -> bytes:
    with path.open("rb") as file:
        file.seek(block.start)
        return file.read(block.stop - block.start)


def _check_ids(source: Source, blocks: Sequence[Block], column: str) -> None:
    """Raises DataError for an id that is missing or occurs twice, naming its rows."""
    sums = []
    for block in blocks:
        for place, one in enumerate(source.read(block)):
            if one[column] is None:
                raise DataError(
                    213,
                    f"row {block.first + place} has no id in '{column}'",
                    where=source.files[block.file],
                    fix="give every row an id, or leave --id out: rows have numbers",
                )
            sums.append(_sum(one[column]))
    found, counts = np.unique(np.array(sums, np.uint64), return_counts=True)
    doubtful = set(found[counts > 1].tolist())
    seen: dict[Any, int] = {}
    for block in blocks if doubtful else ():
        for place, one in enumerate(source.read(block)):
            row, cell = block.first + place, one[column]
            if _sum(cell) not in doubtful:
                continue
            if repr(cell) in seen:
                raise DataError(
                    213,
                    f"the id {cell!r} occurs in rows {seen[repr(cell)]} and {row}",
                    where=f"{source.files[block.file]}:{column}",
                    fix="make ids unique, or name another column with --id",
                )
            seen[repr(cell)] = row


def _sum(cell: Any) -> int:
    return xxhash.xxh3_64_intdigest(repr(cell).encode())
