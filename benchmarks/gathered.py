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
    """The records of all files that exist, the last one of each `key`, in order of first sight.

    A file that ends in `.json` is a result that a table was written of, whose runs it has.
    """
    found: dict[tuple, Record] = {}
    for path in paths:
        if path.is_file():
            for record in _records(path):
                found[tuple(record[name] for name in key)] = record
    return list(found.values())


def _records(path: Path) -> list[Record]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return [json.loads(line) for line in text.splitlines()]
    whole = json.loads(text)
    return [{**{k: v for k, v in whole.items() if k != "runs"}, **run} for run in whole["runs"]]
