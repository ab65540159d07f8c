"""Where the members of a tar archive are: found by reading its headers, and nothing but those."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from mmjax.core.errors import DataError
from mmjax.core.typing import Int
from mmjax.data.cells import clean_text
from mmjax.data.sources.shards import File
from mmjax.data.table import BadRow

BLOCK = 512
_EMPTY = bytes(BLOCK)
_LONGEST_NAME = 2**16
_LONGEST_PAX = 2**20
_LONG_NAME, _LONG_LINK = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
_PAX, _PAX_GLOBAL, _PAX_SOLARIS = tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE
_WITHOUT_CONTENT = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
)
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.DOTALL)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclasses.dataclass(frozen=True)
class Member:
    """A regular file of an archive: its content is `size` bytes from `offset` on.

    `check` is the checksum that its header carries, which stands for name, size and time; -1 if it
    is not known.
    """

    name: str
    offset: int
    size: int
    check: int


@dataclasses.dataclass(frozen=True)
class TarIndex:
    """The samples of one shard, and of each its members.

    Sample i has the members `starts[i]` to `starts[i + 1]`; a member's extension is a place in
    `extensions`. `ignored` counts what is no member of a sample. `bad` says where the archive is
    damaged, if it is: the samples before are whole.
    """

    keys: Sequence[str]
    hashes: Int[np.ndarray, "n"]
    starts: Int[np.ndarray, "n_1"]
    extensions: tuple[str, ...]
    extension: Int[np.ndarray, "m"]
    offset: Int[np.ndarray, "m"]
    size: Int[np.ndarray, "m"]
    check: Int[np.ndarray, "m"]
    ignored: int
    digest: str
    bad: tuple[BadRow, ...] = ()

    def __len__(self) -> int:
        return len(self.starts) - 1

    def member(self, sample: int, extension: str) -> Member | None:
        """The member of a sample that has an extension."""
        start, stop = self.starts[sample : sample + 2].tolist()
        for i, code in enumerate(self.extension[start:stop].tolist(), start):
            if self.extensions[code] == extension:
                offset, size, check = int(self.offset[i]), int(self.size[i]), int(self.check[i])
                return Member(f"{self.keys[sample]}.{extension}", offset, size, check)
        return None


def index_tar(file: File, *, max_members: int) -> TarIndex:
    """The index of a tar file, by one pass over its headers.

    A sample are neighbouring members with the same name up to the first dot of its last part.
    Links, devices, folders, and names that are absolute, leave the archive by `..` or have no
    extension are ignored. Raises DataError for a compressed archive and more than `max_members`;
    one that is cut off or damaged gives the samples before, and says where it broke in `bad`.
    """
    groups = Groups(file.path, max_members)
    try:
        for member in members(file):
            groups.add(member)
    except _BrokenError as error:
        offset, reason = error.args
        # The last sample may be a part of what was written.
        groups.drop_last()
        groups.bad.append(
            BadRow(str(file.path), offset, None, 240, reason, "write or copy the shard again")
        )
    return groups.index()


def content(file: File, member: Member) -> bytes:
    """The bytes of a member. Raises DataError if its header is not what it was when indexed."""
    found = file.read(member.offset - BLOCK, BLOCK + member.size)
    same = len(found) == BLOCK + member.size
    if same:
        try:
            header = _parsed(found[:BLOCK])
        except (tarfile.HeaderError, ValueError):
            same = False
        else:
            # Above 8 GB a size stands elsewhere; no member that large is read.
            same = header.size == member.size and member.check in (-1, header.chksum)
    if not same:
        raise DataError(
            244,
            f"the shard has no such member at byte {member.offset - BLOCK}: it has changed since "
            "it was indexed, or its index is of another file",
            where=f"{file.path}:{member.name}",
            fix="delete its index, beside it or in the cache, or write the shard again",
        )
    return found[BLOCK:]


class _BrokenError(Exception):
    """The archive cannot be read from an offset on: (offset, reason)."""


def members(file: File) -> Iterator[Member | None]:
    """The regular files of an archive in order, None for everything else in it."""
    size = file.status.st_size
    head = file.read(0, 8)
    kind = next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), None)
    if kind is not None:
        raise DataError(
            240,
            f"the shard is compressed by {kind}, and has no random access",
            where=str(file.path),
            fix="uncompress it to .tar: media hardly shrink",
        )
    position = 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    while True:
        header = _header(file, position, size)
        if header is None:
            return
        start = position + BLOCK
        length = int(pax.get("size", header.size)) if header.isreg() else header.size
        length = 0 if header.type in _WITHOUT_CONTENT else length
        if length < 0 or start + length > size:
            raise _BrokenError(position, f"'{header.name}' has {length} bytes, past the end")
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise _BrokenError(position, f"'{header.name}' is a sparse file, which is not read")
        if header.type in (_LONG_NAME, _LONG_LINK):
            name = _bounded(file, position, start, length, _LONGEST_NAME).partition(b"\0")[0]
            if header.type == _LONG_NAME:
                long_name = name.decode("utf-8", "surrogateescape")
        elif header.type in (_PAX, _PAX_SOLARIS, _PAX_GLOBAL):
            found = _pax(_bounded(file, position, start, length, _LONGEST_PAX), position)
            pax = pax if header.type == _PAX_GLOBAL else found
        else:
            path = pax.get("path", header.name if long_name is None else long_name)
            sparse = any(key.startswith("GNU.sparse.") for key in pax)
            plain = header.isreg() and not sparse and not _outside(path)
            yield Member(clean_text(path), start, length, header.chksum) if plain else None
            long_name, pax = None, {}
        position = start + -(-length // BLOCK) * BLOCK


def _header(file: File, position: int, size: int) -> tarfile.TarInfo | None:
    """The header at a position; None at the end-of-archive mark."""
    if position >= size:
        raise _BrokenError(size, "the archive is cut off: it has no end mark")
    block = file.read(position, BLOCK)
    if len(block) < BLOCK:
        raise _BrokenError(position, "the archive is cut off within a header")
    if block == _EMPTY:
        return None
    try:
        return _parsed(block)
    except (tarfile.HeaderError, ValueError) as error:
        raise _BrokenError(position, f"no header of a member: {error}") from error


def _parsed(block: bytes) -> tarfile.TarInfo:
    """The header in a block; of an ordinary file, four times as fast as the standard library."""
    name, size, check = block[:100], block[124:136], block[148:156]
    plain = block[156:157] == tarfile.REGTYPE and not block[345] and b"\0" in name
    size, check = size.rstrip(b" \0"), check.strip(b" \0")
    if not (plain and size.isdigit() and check.isdigit()):
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    header = tarfile.TarInfo(name.partition(b"\0")[0].decode("utf-8", "surrogateescape"))
    header.size, header.chksum = int(size, 8), int(check, 8)
    if header.chksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        raise tarfile.HeaderError("bad checksum")
    return header


def _bounded(file: File, position: int, start: int, length: int, most: int) -> bytes:
    if length > most:
        raise _BrokenError(position, f"a name or header of {length} bytes, over {most}")
    return file.read(start, length)


def _pax(content: bytes, position: int) -> dict[str, str]:
    """The records `length key=value` of an extended header."""
    found, rest = {}, content
    while rest.strip(b"\0"):
        length, space, _ = rest.partition(b" ")
        if not space or not length.isdigit() or len(length) > 8 or int(length) > len(rest):
            raise _BrokenError(position, "a damaged extended header")
        record = rest[len(length) + 1 : int(length)]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise _BrokenError(position, "a damaged extended header")
        found[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        rest = rest[int(length) :]
    if not found.get("size", "0").isdigit() or len(found.get("size", "0")) > 18:
        raise _BrokenError(position, f"a size of '{found['size'][:20]}'")
    return found


def _outside(path: str) -> bool:
    return path.startswith("/") or "\0" in path or ".." in path.split("/")


class Groups:
    """Collects members to samples."""

    def __init__(self, path: Path, max_members: int):
        self._path, self._max_members = path, max_members
        self._keys: list[str] = []
        self._seen: set[str] = set()
        self._starts: list[int] = []
        self._members: list[tuple[int, int, int, int]] = []
        self._extensions: dict[str, int] = {}
        self._codes: set[int] = set()
        self._ignored = 0
        self.bad: list[BadRow] = []

    def add(self, member: Member | None) -> None:
        named = None if member is None else _NAME.fullmatch(member.name.removeprefix("./"))
        if member is None or named is None:
            self._ignored += 1
            return
        key, extension = named.groups()
        if len(self._members) >= self._max_members:
            raise DataError(
                241,
                f"over {self._max_members} members",
                where=str(self._path),
                fix="raise max_members, or write smaller shards",
            )
        if not self._keys or key != self._keys[-1]:
            if key in self._seen:
                self._refuse(member, f"the key '{key}' comes again, apart from its first members")
                return
            self._keys.append(key)
            self._seen.add(key)
            self._starts.append(len(self._members))
            self._codes.clear()
        code = self._extensions.setdefault(extension.lower(), len(self._extensions))
        if code in self._codes:
            self._refuse(member, f"'{key}' has two members '.{extension}'")
            return
        self._codes.add(code)
        self._members.append((code, member.offset, member.size, member.check))

    def _refuse(self, member: Member, reason: str) -> None:
        offset = member.offset - BLOCK
        self.bad.append(
            BadRow(str(self._path), offset, None, 245, reason, "write each sample once")
        )

    def drop_last(self) -> None:
        if self._keys:
            self._keys.pop()
            del self._members[self._starts.pop() :]

    def index(self) -> TarIndex:
        digest = hashlib.sha256(repr((self._keys, self._members, self._starts)).encode())
        digest.update(repr(tuple(self._extensions)).encode())
        table = np.array(self._members, np.int64).reshape(-1, 4)
        hashes: list[Any] = [xxhash.xxh3_64_intdigest(key.encode()) for key in self._keys]
        return TarIndex(
            keys=self._keys,
            hashes=np.array(hashes, np.uint64),
            starts=np.array([*self._starts, len(self._members)], np.int64),
            extensions=tuple(self._extensions),
            extension=table[:, 0].astype(np.int32),
            offset=table[:, 1].copy(),
            size=table[:, 2].copy(),
            check=table[:, 3].astype(np.int32),
            ignored=self._ignored,
            digest=digest.hexdigest(),
            bad=tuple(self.bad),
        )
