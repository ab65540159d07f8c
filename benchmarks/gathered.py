"""Runs that many processes measured, in files of JSON lines that may be put together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def append(path: Path, record: Record) -> None:
    """One line more, in one write: processes may share the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write((json.dumps(record) + "\n").encode())


def gather(paths: Iterable[Path], key: Sequence[str]) -> list[Record]:
    """The records of all files that exist, the last one of each `key`, in order of first sight."""
    found: dict[tuple, Record] = {}
    for path in paths:
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                found[tuple(record[name] for name in key)] = record
    return list(found.values())
