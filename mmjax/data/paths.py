"""Media files named by cells: nothing outside the root is read, and nothing but regular files."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mmjax.core.errors import DataError, MMJaxError, TransientError, nearest
from mmjax.data.cells import shown

MAX_BYTES = 256 * 2**20
"""The largest media file that is read unless the caller says otherwise."""
MAX_STREAMED_BYTES = 2**40
"""The largest that is read piece by piece."""

_READ_AT_ONCE = 16 * 2**20

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_BACKOFF_SECONDS = (0.05, 0.2, 0.8)
_MOST_NAMES = 4096
_LONGEST_SHOWN = 200


def resolve_media(root: Path | None, cell: Any, *, where: str, max_bytes: int = MAX_BYTES) -> Path:
    """The regular file inside `root` that a cell names, with every symlink resolved.

    `cell` is relative to `root`, or absolute inside it. `where` is the cell's place, for errors.
    Raises DataError for a path that leaves the root by `..`, by being absolute or by a symlink, for
    a URL or other scheme, a NUL, a missing file (with the nearest existing name), what is no
    regular file (a FIFO would hang), an empty file and one over `max_bytes`; TransientError when
    the file system refuses to say (permission, stale mount).
    """
    base = _base(root, cell, where)
    named = cell if len(cell) <= _LONGEST_SHOWN else cell[:_LONGEST_SHOWN] + "..."
    for form in dict.fromkeys((cell, unicodedata.normalize("NFD", cell))):
        path = Path(os.path.realpath(base / form))
        if not path.is_relative_to(base):
            link = Path(os.path.normpath(base / form)).is_relative_to(base)
            raise DataError(
                302 if link else 301,
                f"'{named}' leaves the root '{root}'" + (" through a symlink" if link else ""),
                where=where,
                fix="name a file inside the root, or give a root that holds all media",
            )
        status = _status(path, named, where)
        if status is not None:
            _check_status(status, named, where, max_bytes)
            return path
    raise DataError(306, f"no file '{named}'", where=where, fix=_nearest_file(base, cell))


def read_media(root: Path | None, cell: Any, *, where: str, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of the file that `resolve_media` finds.

    An input or output error is retried three times, then raised as TransientError. A file whose
    size changes while it is read is a DataError.
    """
    path = resolve_media(root, cell, where=where, max_bytes=max_bytes)
    for pause in (*_BACKOFF_SECONDS, None):
        try:
            return _read(path, cell, where, max_bytes)
        except OSError as error:
            if error.errno in _ABSENT:
                raise DataError(
                    306, f"'{cell}' vanished while it was read", where=where, fix="restore it"
                ) from error
            if pause is None:
                raise _transient(error, cell, where) from error
            time.sleep(pause)
    raise AssertionError("unreachable")


def list_media(root: Path | None, cell: Any, *, where: str, max_bytes: int) -> list[str]:
    """The cell, or, where it names a folder, cells for the files that lie directly in it, by name.

    Hidden files are left out. Raises as `resolve_media` does, and DataError for a folder without
    files, or with more than `max_bytes` in all.
    """
    base = _base(root, cell, where)
    folder = Path(os.path.realpath(base / cell))
    if not (folder.is_relative_to(base) and folder.is_dir()):
        resolve_media(root, cell, where=where, max_bytes=max_bytes)
        return [cell]
    try:
        with os.scandir(folder) as entries:
            found = {
                entry.name: entry.stat().st_size
                for entry in entries
                if entry.is_file() and not entry.name.startswith(".")
            }
    except OSError as error:
        raise _transient(error, cell, where) from error
    if not found:
        raise DataError(306, f"the folder '{cell}' has no file", where=where, fix="name another")
    if sum(found.values()) > max_bytes:
        raise DataError(
            309,
            f"'{cell}' has {sum(found.values())} bytes, over the limit of {max_bytes}",
            where=where,
            fix="name a folder of one series",
        )
    return [os.path.join(cell, name) for name in sorted(found)]


def _read(path: Path, cell: str, where: str, max_bytes: int) -> bytes:
    # The path is resolved already: a symlink or FIFO here was put in its place since.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        before = os.fstat(handle)
        _check_status(before, cell, where, max_bytes)
        content = file.read(before.st_size + 1)
        if len(content) != before.st_size or os.fstat(handle).st_size != before.st_size:
            raise DataError(
                308, f"'{cell}' changed its size while it was read", where=where, fix="read again"
            )
    return content


@contextlib.contextmanager
def open_media(
    root: Path | None, cell: Any, *, where: str, max_bytes: int = MAX_STREAMED_BYTES
) -> Iterator[BinaryIO]:
    """The file that `resolve_media` finds, for a decoder that reads no more of it than it needs.

    Raises as `read_media` does, but for the retries of large files: their first input or output
    error is a TransientError, at the end of the block, whatever the decoder made of it.
    """
    path = resolve_media(root, cell, where=where, max_bytes=max_bytes)
    if path.stat().st_size <= _READ_AT_ONCE:
        yield io.BytesIO(read_media(root, cell, where=where, max_bytes=max_bytes))
        return
    try:
        raw = _Watched(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
    except OSError as error:
        raise _transient(error, cell, where) from error
    with io.BufferedReader(raw, 2**18) as file:
        before = os.fstat(raw.fileno())
        _check_status(before, cell, where, max_bytes)
        try:
            yield file
        finally:
            if raw.failed is not None:
                raise _transient(raw.failed, cell, where) from raw.failed
        if os.fstat(raw.fileno()).st_size != before.st_size:
            raise DataError(
                308, f"'{cell}' changed its size while it was read", where=where, fix="read again"
            )


@contextlib.contextmanager
def naming(cell: Any) -> Iterator[None]:
    """A DataError of the block says which file it is about, if the cell is a path."""
    try:
        yield
    except DataError as error:
        if not isinstance(cell, str) or shown(cell) in error.what:
            raise
        raise DataError(
            error.code, f"'{shown(cell)}': {error.what}", where=error.where, fix=error.fix
        ) from error


@contextlib.contextmanager
def damage(code: int, what: str, *, where: str, fix: str) -> Iterator[None]:
    """Whatever a reader of files raises in the block is a DataError, but for errors of our own."""
    try:
        yield
    except MMJaxError:
        raise
    except Exception as error:  # readers raise nearly anything for damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(code, f"{what} cannot be read: {reason}", where=where, fix=fix) from error


class _Watched(io.FileIO):
    """A file that ends where it cannot be read, and keeps the reason.

    Decoders in C take a Python exception for an end, and print it.
    """

    failed: OSError | None = None

    def readinto(self, buffer: Any) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            self.failed = error
            return 0


def _base(root: Path | None, cell: Any, where: str) -> Path:
    """The root without symlinks, once the cell is known to be a path that could lie below it."""
    if not isinstance(cell, str) or not cell:
        raise DataError(306, f"{cell!r} is no path", where=where, fix="give a file name")
    if "\0" in cell:
        raise DataError(303, f"NUL in the path {cell!r}", where=where, fix="remove it")
    try:
        os.fsencode(cell)
    except UnicodeEncodeError as error:
        raise DataError(303, f"{cell!r} is no file name", where=where, fix=str(error)) from error
    if _SCHEME.match(cell):
        raise DataError(
            305,
            f"'{cell}' has a scheme, and none is allowed",
            where=where,
            fix="download the file and give its path below the root",
        )
    if root is None:
        raise DataError(
            301, f"'{cell}' is a path, and the data has no root", where=where, fix="give root=..."
        )
    return Path(os.path.realpath(root))


def _status(path: Path, cell: str, where: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _transient(error, cell, where) from error


def _transient(error: OSError, cell: str, where: str) -> TransientError:
    return TransientError(
        307, f"'{cell}' cannot be read: {error.strerror}", where=where, fix="see its permissions"
    )


def _check_status(status: os.stat_result, cell: str, where: str, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a FIFO, socket or device"
        if stat.S_ISDIR(status.st_mode):
            kind = "a folder"
        elif stat.S_ISLNK(status.st_mode):
            kind = "a symlink to itself"
        raise DataError(304, f"'{cell}' is {kind}", where=where, fix="name a regular file")
    if status.st_size == 0:
        raise DataError(309, f"'{cell}' is empty (0 bytes)", where=where, fix="replace the file")
    if status.st_size > max_bytes:
        raise DataError(
            309,
            f"'{cell}' has {status.st_size} bytes, over the limit of {max_bytes}",
            where=where,
            fix="shrink the file or raise max_bytes",
        )


def _nearest_file(base: Path, relative: str) -> str:
    """A hint from the names in the deepest folder of the path that exists."""
    folder = base
    wanted = os.path.relpath(os.path.normpath(base / relative), base)
    for part in Path(wanted).parts:
        if os.path.isdir(folder / part):
            folder = folder / part
            continue
        names: list[str] = []
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.strip().casefold() == part.strip().casefold():
                    return f"did you mean '{(folder / entry.name).relative_to(base)}'?"
                names.extend([entry.name] if len(names) < _MOST_NAMES else [])
        below = [str((folder / name).relative_to(base)) for name in names]
        return nearest(str((folder / part).relative_to(base)), below, most=3)
    return "there are none"
