"""A job's folder: what it is of, which blocks are written, and the file that they become.

job.json                         the rows, the model and the settings that it is of
parts/00000012.jsonl             a block, whole or absent; gone when all are there
predictions.jsonl                a line a row, in the order of the rows
predictions-00003-of-00008.jsonl the same of one shard
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmjax.core.errors import ConfigError, DataError, TransientError
from mmjax.core.failpoints import failpoint
from mmjax.core.files import atomic, flocked, read_json, write_json
from mmjax.serve.bulk.rows import Block, Plan, Source

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Work:
    """What whoever answers blocks must know: JSON values."""

    model: str
    source: Source
    parts: str
    threads: int = 4
    filter: str | None = None
    """What `mmjax.serve.filtering.named` finds, and every answer goes through."""

    def write(self, block: Block, lines: Iterable[str]) -> None:
        """The answers of a block, a line a row, whole or not at all; again is the same file."""
        with atomic(part_of(self.parts, block.number)) as file:
            rows = 0
            for line in lines:
                file.write(line + "\n")
                rows += 1
                if rows == (block.rows + 1) // 2:
                    failpoint("part")
            if rows != block.rows:
                raise DataError(223, f"{rows} answers to {block.rows} rows", where=self.parts)
        failpoint("after-part")


def part_of(parts: str | os.PathLike, number: int) -> Path:
    """The file of a block."""
    return Path(parts) / f"{number:08d}.jsonl"


@dataclasses.dataclass(frozen=True)
class Job:
    """The share `shard` of `shards` of a plan: every so many-th block."""

    out: Path
    plan: Plan
    model: str
    """What tells the model from others."""
    shard: int = 0
    shards: int = 1
    filter: str | None = None

    @property
    def path(self) -> Path:
        """The file that all blocks become."""
        if self.shards == 1:
            return self.out / "predictions.jsonl"
        return self.out / f"predictions-{self.shard:05d}-of-{self.shards:05d}.jsonl"

    @property
    def parts(self) -> Path:
        return self.out / ("parts" if self.shards == 1 else f"parts-{self.shard:05d}")

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.plan.blocks[self.shard :: self.shards]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.blocks)

    def pending(self) -> list[Block]:
        """The blocks that are not written."""
        if self.path.exists():
            return []
        there = {one.name for one in self.parts.iterdir()} if self.parts.is_dir() else set()
        return [one for one in self.blocks if part_of("", one.number).name not in there]

    @contextlib.contextmanager
    def held(self, *, resume: bool) -> Iterator[None]:
        """The folder, of which no other process does this share meanwhile.

        Raises TransientError where one does, DataError where there is something of it and `resume`
        is not said, and where what is there is of other rows, another model or other settings.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.out / f".lock-{self.shard:05d}", "w") as lock:
            if not flocked(lock, patient=False):
                raise TransientError(
                    721, "another process writes there", where=str(self.out), fix="wait for it"
                )
            if not resume and (self.path.exists() or self.parts.exists()):
                raise DataError(
                    225,
                    f"'{self.out}' has predictions already",
                    fix="--resume goes on with them, or name another folder",
                )
            self._same()
            self.parts.mkdir(exist_ok=True)
            for one in self.parts.glob(".*.tmp"):
                one.unlink(missing_ok=True)
            yield

    def finish(self) -> Path:
        """One file of all blocks, in order; they are removed. Again, it is what it was."""
        if not self.path.exists():
            missing = self.pending()
            if missing:
                raise DataError(223, f"{len(missing)} blocks were not written", where=str(self.out))
            with atomic(self.path, "wb") as file:
                for block in self.blocks:
                    with part_of(self.parts, block.number).open("rb") as part:
                        shutil.copyfileobj(part, file, 1 << 20)
            failpoint("after-merge")
        shutil.rmtree(self.parts, ignore_errors=True)
        return self.path

    def _same(self) -> None:
        mine: dict[str, Any] = {
            "format": FORMAT,
            "rows": self.plan.rows,
            "digest": self.plan.digest,
            "blocks": len(self.plan.blocks),
            "id": self.plan.source.id_column,
            "model": self.model,
            "shards": self.shards,
            "filter": self.filter,
        }
        path = self.out / "job.json"
        if not path.exists():
            others = [one for one in self.out.iterdir() if one.suffix == ".jsonl"]
            if others:
                raise ConfigError(109, f"'{self.out}' holds other files", fix="name a new folder")
            write_json(path, mine)
        there = read_json(path)
        for name, value in mine.items():
            if there.get(name) != value:
                raise DataError(
                    226,
                    f"the job there has {name} {there.get(name)}, this one {value}",
                    where=str(path),
                    fix="give the same rows, model and settings, or name another folder",
                )
