"""The folder of an exported model: written whole or not at all, checked before it is read.

export.json            what it is: format, task, outputs, programs, answers
README.md              the model card
parameters.safetensors
programs/<n>.bin       what `jax.export` serialised, one a bucket (and batch size)
processors/            what makes arrays of raw items, as a run keeps it
SHA256SUMS             of every other file, as `sha256sum --check` reads it
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmjax.core.errors import CheckpointError
from mmjax.core.files import read_json, write_json

FORMAT = 1
"""Of `export.json`; a folder with a higher one was written by a newer mmjax."""
MANIFEST, SUMS, PARAMETERS = "export.json", "SHA256SUMS", "parameters.safetensors"
CARD, PROGRAMS, PROCESSORS = "README.md", "programs", "processors"

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Opened:
    """A folder of which every file is as it was written."""

    path: Path
    digest: str
    manifest: dict[str, Any]


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """An empty folder beside `path` to write in, which gets that name if the block succeeds.

    Sums of all files are written last. Raises CheckpointError if there is something at `path`.
    """
    path = Path(path)
    if path.exists():
        raise CheckpointError(
            601, f"'{path}' is there already", fix="remove it, or name another folder"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    scratch.mkdir()
    try:
        yield scratch
        _write_sums(scratch)
        os.rename(scratch, path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """`export.json`, with the format that is written now."""
    write_json(folder / MANIFEST, {"format": FORMAT, **values})


def opened(path: str | os.PathLike) -> Opened:
    """The folder at `path`, once every file has the sum that it was written with.

    Raises CheckpointError, one of: no export there; a newer format; a file that is missing, cut
    short, or not what was written.
    """
    path = Path(path)
    if not (path / SUMS).is_file() or not (path / MANIFEST).is_file():
        missing = [name for name in (MANIFEST, SUMS) if not (path / name).is_file()]
        what = f"it has no {missing[0]}" if path.is_dir() else "there is no such folder"
        raise CheckpointError(
            660, f"'{path}' is no exported model: {what}", fix="mmjax export RUN OUT makes one"
        )
    text = (path / SUMS).read_bytes()
    for name, expected in _listed(text, path).items():
        _check(path / name, expected)
    manifest = read_json(path / MANIFEST)
    if manifest["format"] > FORMAT:
        raise CheckpointError(
            662,
            f"the export has format {manifest['format']}, this mmjax reads up to {FORMAT}",
            where=str(path),
            fix="install a newer mmjax, or export the run with this one",
        )
    return Opened(path, hashlib.sha256(text).hexdigest(), manifest)


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def _write_sums(folder: Path) -> None:
    names = sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())
    lines = []
    for name in names:
        os.chmod(folder / name, 0o644)
        lines.append(f"{_sum(folder / name)}  {name}\n")
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _listed(text: bytes, folder: Path) -> dict[str, str]:
    """The sum of each file. Raises CheckpointError for lines that are none."""
    found: dict[str, str] = {}
    lines = text.decode("utf-8", "replace").split("\n")
    whole = not lines[-1]
    for line in lines[:-1] if whole else lines:
        match = _LINE.fullmatch(line)
        inside = match is not None and not Path(match[2]).is_absolute() and ".." not in match[2]
        if match is None or not inside or not whole:
            raise _damaged(folder / SUMS, "a line is no sum of a file of the folder")
        found[match[2]] = match[1]
    # A list that was cut at the end of a line still is one.
    for name in (MANIFEST, PARAMETERS, CARD):
        if name not in found:
            raise _damaged(folder / SUMS, f"it does not list {name}")
    return found


def _check(path: Path, expected: str) -> None:
    if not path.is_file():
        raise CheckpointError(
            661, f"'{path.name}' is missing", where=str(path), fix="copy the folder again, whole"
        )
    if _sum(path) != expected:
        raise _damaged(path, "its sha256 is not the one in SHA256SUMS")


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        661,
        f"'{path.name}' is damaged: {why}",
        where=str(path),
        fix="copy the folder again, or export the run again",
    )


def _sum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            digest.update(part)
    return digest.hexdigest()
