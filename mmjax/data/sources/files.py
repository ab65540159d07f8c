"""What the file formats share: a file that is there, its fingerprint, and its text."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from mmjax.core.errors import ConfigError, DataError, nearest

_CHUNK = 1 << 20


def existing(path: str | os.PathLike) -> Path:
    """The path of a manifest that is a regular file; raises DataError naming the nearest file."""
    path = Path(path)
    if os.path.isfile(path):
        return path
    if os.path.isdir(path):
        raise DataError(201, f"'{path}' is a folder", fix="name the manifest inside it")
    if os.path.exists(path):
        raise DataError(201, f"'{path}' is no regular file", fix="name a regular file")
    siblings = sorted(path.parent.glob("*"))[:4096] if os.path.isdir(path.parent) else []
    raise DataError(
        201, f"no manifest '{path}'", fix=nearest(str(path), map(str, siblings), most=3)
    )


def folder(path: str | os.PathLike) -> Path:
    """The path of a folder that media paths are relative to; raises DataError if it is none."""
    if not os.path.isdir(path):
        raise DataError(301, f"the root '{path}' is no folder", fix="give the folder of the media")
    return Path(path)


def root_of(path: Path, root: str | None) -> Path:
    """The folder that media paths are relative to: `root`, or the manifest's own."""
    return path.parent if root is None else folder(root)


def fingerprint(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines of a text file with their ends, `utf-8` with or without a byte-order mark.

    Raises DataError with the byte offset of the first bytes that are not in the encoding, and a
    guess of what they are in.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise ConfigError(
            106,
            f"unknown encoding '{encoding}'",
            fix=nearest(encoding, ["utf-8", "utf-16", "cp1252", "latin-1", "gb18030"]),
        ) from error
    if name == "utf-8":
        name = "utf-8-sig"
    try:
        with open(path, encoding=name, newline="") as file:
            yield from file
    except UnicodeError as error:
        raise DataError(
            206,
            f"the bytes from offset {_undecodable(path, name)} on are not {encoding}",
            where=str(path),
            fix=f"they look like {guess_encoding(path)}; set encoding=...",
        ) from error


def guess_encoding(path: Path) -> str:
    """The likeliest encoding of a file that is not UTF-8, from its first megabyte."""
    with open(path, "rb") as file:
        head = file.read(_CHUNK)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.count(0) > len(head) // 4:
        return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    try:
        head.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _undecodable(path: Path, encoding: str) -> int:
    decoder = codecs.getincrementaldecoder(encoding)()
    read = 0
    with open(path, "rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            read += len(chunk)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return read - len(error.object) + error.start
            except UnicodeError:
                return read - len(chunk)
            if not chunk:
                return read


def byte_lines(file: io.BufferedIOBase) -> Iterator[bytes]:
    """The lines of a binary file with their ends, without a byte-order mark."""
    for number, line in enumerate(file):
        yield line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
