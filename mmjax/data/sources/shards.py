"""Shards: many files that are one table, of which few are open at a time."""

from __future__ import annotations

import bisect
import glob
import itertools
import math
import os
import re
import resource
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError, TransientError
from mmjax.core.typing import Int
from mmjax.data.sources.files import existing

T = TypeVar("T")

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_MOST_SHARDS = 1_000_000
_PAUSES_SECONDS = (0.05, 0.2, 0.8)


def expand(patterns: Sequence[str]) -> list[Path]:
    """The files of paths with `{000..099}`, `{a,b}` and glob patterns, those of a glob sorted.

    Raises DataError for a pattern that no file matches, a file that is not there, a file that is
    named twice, and a URL or command (`pipe:`), which are never opened.
    """
    paths: list[Path] = []
    for pattern in patterns:
        if _SCHEME.match(pattern):
            raise DataError(
                305,
                f"'{pattern}' has a scheme, and none is allowed",
                fix="download the shards and give their paths",
            )
        for path in _braces(pattern):
            if glob.has_magic(path) and not os.path.exists(path):
                found = sorted(glob.glob(path))
                if not found:
                    raise DataError(242, f"no shard matches '{path}'", fix="see the path")
                paths += map(Path, found)
            else:
                paths.append(existing(path))
    if not paths:
        raise DataError(242, "no shard is named", fix="give paths=('shards/{000..099}.tar',)")
    twice = next((path for i, path in enumerate(sorted(paths)) if path in sorted(paths)[:i]), None)
    if twice is not None:
        raise DataError(242, f"the shard '{twice}' is named twice", fix="name it once")
    return paths


def _braces(pattern: str) -> list[str]:
    choices, parts = [], _BRACES.split(pattern)
    for inner in parts[1::2]:
        numbers = _RANGE.fullmatch(inner)
        if numbers is None:
            choices.append(inner.split(","))
            continue
        first, last = map(int, numbers.groups())
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        if not 0 <= last - first < _MOST_SHARDS:
            raise DataError(242, f"'{{{inner}}}' counts no shards", fix="write {000..099}")
        choices.append([f"{i:0{width}}" for i in range(first, last + 1)])
    if math.prod(map(len, choices)) > _MOST_SHARDS:
        raise DataError(242, f"'{pattern}' names over {_MOST_SHARDS} shards", fix="name fewer")
    texts = parts[::2]
    return [
        texts[0] + "".join(c + t for c, t in zip(chosen, texts[1:], strict=True))
        for chosen in itertools.product(*choices)
    ]


def named_splits(
    paths: Sequence[str], splits: Mapping[str, Sequence[str]], source: str
) -> dict[str, list[Path]]:
    """The shards of each split, or of the one "" where they are not told apart."""
    if bool(paths) == bool(splits):
        raise ConfigError(
            103,
            f"source '{source}' needs paths or splits" + (", not both" if paths else ""),
            where="data.source",
            fix="give paths=('shards/*.tar',), or splits={'train': (...), 'validation': (...)}",
        )
    found = {name: expand(patterns) for name, patterns in (splits or {"": paths}).items()}
    shards = [path for part in found.values() for path in part]
    if len(set(shards)) < len(shards):
        twice = next(path for path in shards if shards.count(path) > 1)
        raise DataError(242, f"the shard '{twice}' is in two splits", fix="name it in one")
    return found


class File:
    """A file that is read by offset, by several threads at once, and closed with its last use."""

    def __init__(self, path: Path):
        self._handle = -1
        self.path = path
        self._handle = self._retried(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self.status = os.fstat(self._handle)

    # The default is for the end of the interpreter, when modules are emptied first.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._handle >= 0:
            close(self._handle)

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes. Raises TransientError if three retries cannot be read either."""
        return self._retried(lambda: self._read(offset, size))

    def _read(self, offset: int, size: int) -> bytes:
        found = os.pread(self._handle, size, offset)
        while len(found) < size and (more := os.pread(self._handle, size - len(found), offset)):
            found += more
        return found

    def _retried(self, act: Callable[[], T]) -> T:
        for pause in _PAUSES_SECONDS:
            try:
                return act()
            except OSError:
                time.sleep(pause)
        try:
            return act()
        except OSError as error:
            raise TransientError(
                307, f"'{self.path}' cannot be read: {error.strerror}", fix="see its permissions"
            ) from error


class Opened(Generic[T]):
    """Opened shards by number; the ones used longest ago are dropped, and closed once unused.

    Travels to other processes without what is open.
    """

    def __init__(self, open_one: Callable[[int], T]):
        self._open_one = open_one
        self.__setstate__({})

    def __getstate__(self) -> dict[str, Any]:
        return {"_open_one": self._open_one}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, T] = OrderedDict()
        # Each shard may hold two files open, and others need some too.
        self._most = max(8, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 2**16) // 8)

    def __getitem__(self, shard: int) -> T:
        with self._lock:
            if shard in self._kept:
                self._kept.move_to_end(shard)
                return self._kept[shard]
        opened = self._open_one(shard)
        with self._lock:
            kept = self._kept.setdefault(shard, opened)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return kept


class Rows:
    """The rows of several shards, one after another."""

    def __init__(self, counts: Sequence[int]):
        self._ends = list(itertools.accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1]

    def find(self, row: int) -> tuple[int, int]:
        """The shard that a row is in, and its number there."""
        shard = bisect.bisect_right(self._ends, row)
        return shard, row - (self._ends[shard - 1] if shard else 0)

    def of(self, first: int, last: int) -> Int[np.ndarray, "_"]:
        """The rows of the shards `first` to `last` - 1."""
        start = self._ends[first - 1] if first else 0
        return np.arange(start, self._ends[last - 1] if last else 0)


class LazyColumn(Sequence):
    """Cells that are read when they are asked for."""

    def __init__(self, rows: int, cell: Callable[..., Any], *arguments: Any):
        self._rows = rows
        self._cell = cell
        self._arguments = arguments

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(self._rows)[index]]
        return self._cell(range(self._rows)[int(index)], *self._arguments)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(self._rows))


def split_rows(
    rows: Rows,
    shards: Mapping[str, Sequence[Path]],
    held_out: Mapping[str, float],
    hashes: Callable[[], np.ndarray],
) -> dict[str, Int[np.ndarray, "_"]] | None:
    """The rows of each split: by shard, or by the hashes (uint64) of the keys; None if by neither.

    `held_out` are shares of all rows that do not train; a key's hash decides, so a sample stays in
    its split when shards are added. A split may come out empty only if its share is that small.
    """
    if held_out:
        return _held_out(held_out, hashes())
    if set(shards) == {""}:
        return None
    ends = np.cumsum([len(part) for part in shards.values()]).tolist()
    starts = [0, *ends[:-1]]
    return {name: rows.of(a, b) for name, a, b in zip(shards, starts, ends, strict=True)}


def check_held_out(held_out: Mapping[str, float], splits: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError for shares that leave nothing to train, or stand beside splits."""
    shares = list(held_out.values())
    if shares and (splits or "train" in held_out or min(shares) <= 0 or sum(shares) >= 1):
        raise ConfigError(
            106,
            f"held_out = {dict(held_out)}" + (" beside splits" if splits else ""),
            where=f"source {source}",
            fix="give shares above 0 with a sum below 1, such as {'validation': 0.01}, and paths",
        )


def _held_out(held_out: Mapping[str, float], hashes: np.ndarray) -> dict[str, np.ndarray]:
    found, start = {}, 0
    taken = np.zeros(len(hashes), bool)
    for name, share in held_out.items():
        stop = start + int(share * 2**64)
        mine = (hashes >= np.uint64(start)) & (hashes < np.uint64(stop))
        found[name], start = np.flatnonzero(mine), stop
        taken |= mine
    return {"train": np.flatnonzero(~taken), **found}
