"""Indexes of tar shards on disk: our own in a cache folder, and those that others wrote beside."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmjax.core.errors import DataError
from mmjax.core.files import atomic_path
from mmjax.data.cells import clean_text
from mmjax.data.sources.shards import File
from mmjax.data.sources.tar_index import BLOCK, Groups, Member, TarIndex, index_tar

logger = logging.getLogger(__name__)

_FORMAT = "mmjax tar index 1"
_MOST_BYTES = 2**30


def cache_folder(folder: str | None) -> Path:
    """Where indexes are kept: `folder`, or `mmjax/indexes` in the user's cache."""
    if folder is not None:
        return Path(folder)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "mmjax" / "indexes"


def load_index(path: Path, folder: Path, *, max_members: int) -> TarIndex:
    """The index of a shard: the kept one, or the one beside it, or a new one, which is then kept.

    A kept index is named by the shard's name, size and time of change. `SHARD.idx` in place of
    `SHARD.tar` is one of DALI's text files (`wds2idx`); what it says is compared with the shard's
    headers when a member is read. The index of a damaged shard is not kept.
    """
    file = File(path)
    identity: tuple = (_FORMAT, path.name, file.status.st_size, file.status.st_mtime_ns)
    beside = path.with_suffix(".idx")
    if beside.is_file():
        status = beside.stat()
        identity += (status.st_size, status.st_mtime_ns)
    kept = folder / f"{hashlib.sha256(repr(identity).encode()).hexdigest()[:32]}.arrow"
    if kept.is_file():
        found = _read(kept)
        if found is not None:
            return found
        logger.warning("the index %s is damaged, and is made anew", kept)
    if beside.is_file():
        index = _from_dali(beside, file, max_members)
    else:
        index = index_tar(file, max_members=max_members)
    if not index.bad:
        _write(kept, index)
    return index


def _write(path: Path, index: TarIndex) -> None:
    """Nothing is written where nothing may be; the index is then made again next time."""
    import pyarrow

    fields = [index.extension, index.offset, index.size, index.check]
    struct = pyarrow.StructArray.from_arrays(
        [pyarrow.array(one) for one in fields], ["extension", "offset", "size", "check"]
    )
    starts = pyarrow.array(index.starts)
    table = pyarrow.table(
        {
            "key": pyarrow.array(index.keys, pyarrow.large_string()),
            "hash": pyarrow.array(index.hashes),
            "members": pyarrow.LargeListArray.from_arrays(starts, struct),
        }
    )
    facts = {"extensions": index.extensions, "ignored": index.ignored, "digest": index.digest}
    table = table.replace_schema_metadata({"mmjax": json.dumps(facts)})
    try:
        with (
            atomic_path(path) as temporary,
            pyarrow.OSFile(str(temporary), "wb") as sink,
            pyarrow.ipc.new_file(sink, table.schema) as writer,
        ):
            writer.write_table(table)
    except OSError as error:
        logger.warning("the index of a shard cannot be kept in %s: %s", path.parent, error)


def _read(path: Path) -> TarIndex | None:
    """What `_write` wrote, mapped into memory and not read; None if it is damaged."""
    import pyarrow

    try:
        table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
        facts = json.loads(table.schema.metadata[b"mmjax"])
        (keys,), (hashes,), (members,) = (table.column(i).chunks for i in range(3))
        fields = [
            members.values.field(i).to_numpy(zero_copy_only=True)
            for i in range(members.values.type.num_fields)
        ]
        extension, offset, size, check = fields
        starts = members.offsets.to_numpy(zero_copy_only=True)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        logger.debug("%s: %s", path, error)
        return None
    return TarIndex(
        keys=_Keys(keys),
        hashes=hashes.to_numpy(zero_copy_only=True),
        starts=starts,
        extensions=tuple(facts["extensions"]),
        extension=extension,
        offset=offset,
        size=size,
        check=check,
        ignored=facts["ignored"],
        digest=facts["digest"],
    )


class _Keys(Sequence):
    """The keys of an index that is mapped into memory."""

    def __init__(self, keys: Any):
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: Any) -> Any:
        return self._keys[index].as_py()


def _from_dali(path: Path, file: File, max_members: int) -> TarIndex:
    """The index in a text file of DALI: `v1.2 SAMPLES`, and a line of members for each sample.

    A member is `extension offset size` and, in version 1.2, its name. Raises DataError for another
    format, and for a member that lies outside the shard.
    """
    groups = Groups(file.path, max_members)
    with path.open(encoding="utf-8", errors="replace") as lines:
        head = lines.readline(100).split()
        if len(head) != 2 or head[0] not in ("v1.1", "v1.2") or not head[1].isdigit():
            raise _other(path, 1, "it begins with no 'v1.1 COUNT' or 'v1.2 COUNT'")
        width = 3 if head[0] == "v1.1" else 4
        for number, line in enumerate(_lines(lines), 2):
            for member in _members(line.split(), width, f"{number - 2:09d}"):
                inside = BLOCK <= member.offset <= file.status.st_size - member.size
                if not inside or member.size < 0:
                    raise _other(path, number, "it names a member outside the shard")
                groups.add(member)
    index = groups.index()
    if len(index) != int(head[1]):
        raise _other(path, 1, f"it has {len(index)} samples and promises {head[1]}")
    return index


def _lines(lines: Any) -> Iterator[str]:
    read = 0
    while line := lines.readline(2**20):
        read += len(line)
        if read > _MOST_BYTES:
            return
        yield line


def _members(words: list[str], width: int, number: str) -> Iterator[Member]:
    for start in range(0, len(words) - width + 1, width):
        extension, offset, size, *name = words[start : start + width]
        if not (offset.isdigit() and size.isdigit() and len(offset) < 19 and len(size) < 19):
            return  # The count of samples then tells.
        named = clean_text(name[0]) if name else f"{number}.{extension}"
        yield Member(named, int(offset), int(size), -1)


def _other(path: Path, line: int, reason: str) -> DataError:
    return DataError(
        244,
        f"no index of a tar shard: {reason}",
        where=f"{path}:{line}",
        fix="delete it, and one is made, or write it with wds2idx",
    )
