"""Runs that many processes measured, in files of JSON lines that may be put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmjax.core.files import atomic, write_json

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


def write_table(
    name: str, paths: Iterable[Path], key: Sequence[str], out: Path, told: Callable[[Any], str]
) -> str:
    """`<name>.json` of all records, on the machine of the last, and `<name>.md`; what that says."""
    runs = gather(paths, key)
    where = ("date", "device", "cpu", "cores", "python", "versions")
    kept = [{k: v for k, v in run.items() if k not in (*where, "load_average")} for run in runs]
    result = {**{one: runs[-1][one] for one in where}, "runs": kept}
    write_json(out / f"{name}.json", result)
    page = told(result)
    with atomic(out / f"{name}.md") as file:
        file.write(page)
    return page
