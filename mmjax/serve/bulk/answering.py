"""Blocks of rows to lines of answers: read and decoded by threads, batched by length."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmjax.core.errors import ConfigError, MMJaxError, TransientError, code_name
from mmjax.data.paths import list_media, read_media
from mmjax.export.inputs import MEDIA
from mmjax.export.program import Example, Input, Prepared, Program, Result
from mmjax.serve.bulk.job import Work
from mmjax.serve.bulk.rows import Block
from mmjax.serve.filtering import filtered, named
from mmjax.serve.running import FAILED, run_batch

_AHEAD = 2
"""Batches whose rows are read while another is answered."""
_MAX_BYTES = 256 * 2**20


def columns_of(inputs: Sequence[Input]) -> tuple[str, ...]:
    """The columns that a program reads of a row. Raises ConfigError where it needs other rows."""
    for one in inputs:
        if one.kind == "dialogue":
            raise ConfigError(
                109,
                f"'{one.name}' is the rows before each, and rows are answered alone",
                fix="mmjax predict RUN --data ROWS --out FILE",
            )
    return tuple(dict.fromkeys(column for one in inputs for column in one.columns))


@dataclasses.dataclass(frozen=True, slots=True)
class _Ready:
    """A row that waits for its batch, by its place in the block."""

    place: int
    example: Example
    prepared: Prepared


class Answerer:
    """What answers blocks: a program and the threads that prepare rows for it."""

    def __init__(self, program: Program, work: Work):
        self._program, self._work = program, work
        self._filter = named(work.filter) if work.filter else None
        self._pool = ThreadPoolExecutor(work.threads)
        self._media = {
            column: one.kind
            for one in program.inputs
            if one.kind in MEDIA
            for column in one.columns
        }

    def write(self, block: Block) -> None:
        """The file of a block."""
        self._work.write(block, self.lines(block))

    def lines(self, block: Block) -> Iterator[str]:
        """A line of JSON a row, in order: `row`, `id`, and the answer, or the `error` that the row
        alone has.
        """
        source = self._work.source
        cells = source.read(block)
        names = [
            {"row": block.first + i, "id": self._id(one, block.first + i)}
            for i, one in enumerate(cells)
        ]
        for name, said in zip(names, self._answers(cells, block), strict=True):
            yield as_json({**name, **said})

    def _id(self, cells: Mapping[str, Any], row: int) -> Any:
        column = self._work.source.id_column
        return row if column is None else cells[column]

    def _answers(self, cells: list[dict[str, Any]], block: Block) -> list[Mapping[str, Any]]:
        root = self._work.source.root_of(block)
        found: list[Mapping[str, Any] | None] = [None] * len(cells)
        largest = self._program.batch_sizes[-1]
        waiting: dict[Hashable, list[_Ready]] = collections.defaultdict(list)
        for place, ready in enumerate(self._prepared(cells, root, largest * _AHEAD)):
            try:
                example, prepared = ready.result()
            except MMJaxError as error:
                found[place] = failed(error.code, error.what)
                continue
            batch = waiting[prepared.bucket]
            batch.append(_Ready(place, example, prepared))
            if len(batch) == largest:
                self._run(waiting.pop(prepared.bucket), found)
        for batch in waiting.values():
            self._run(batch, found)
        told = [one for one in found if one is not None]
        assert len(told) == len(cells)
        self._require_model([one["error"] for one in told if "error" in one], len(told))
        return told

    def _require_model(self, errors: Sequence[Mapping[str, str]], rows: int) -> None:
        """Raises TransientError where the model fails on every row: that is not the rows' error."""
        if len(errors) == rows and {one["code"] for one in errors} == {code_name(FAILED)}:
            raise TransientError(
                720,
                f"the model failed on all {rows} rows of a block",
                where=self._work.model,
                fix="see the messages above, then --resume",
            )

    def _run(self, batch: list[_Ready], found: list[Mapping[str, Any] | None]) -> None:
        """Tells each row of a batch its answer, or its own error."""
        results = run_batch(self._program, [one.prepared for one in batch])
        for one, said in zip(batch, results, strict=True):
            if self._filter is not None and isinstance(said, Result):
                said = filtered(self._filter, one.example, said)
            if isinstance(said, Result):
                found[one.place] = said.answer
            else:
                found[one.place] = failed(said.code, said.what)

    def _prepared(
        self, cells: list[dict[str, Any]], root: Path, ahead: int
    ) -> Iterator[Future[tuple[Example, Prepared]]]:
        """Each row as it is ready, `ahead` of them in work or waiting."""
        rows = iter(cells)
        work = collections.deque(
            self._pool.submit(self._prepare, one, root) for one in itertools.islice(rows, ahead)
        )
        while work:
            yield work.popleft()
            work.extend(
                self._pool.submit(self._prepare, one, root) for one in itertools.islice(rows, 1)
            )

    def _prepare(self, cells: Mapping[str, Any], root: Path) -> tuple[Example, Prepared]:
        wanted = self._work.source.columns
        example = {name: self._cell(name, cells[name], root) for name in wanted}
        return example, self._program.prepare(example)

    def _cell(self, column: str, cell: Any, root: Path) -> Any:
        """A medium's bytes; nothing outside `root` is read."""
        kind = self._media.get(column)
        if kind is None or not isinstance(cell, str) or not cell.strip():
            return None if kind is not None and isinstance(cell, str) else cell
        files = [cell]
        if kind == "volume":
            files = list_media(root, cell, where=column, max_bytes=_MAX_BYTES)
        read = [read_media(root, one, where=column) for one in files]
        return read if len(read) > 1 else read[0]


def failed(code: int, what: str) -> dict[str, Any]:
    """What is said of a row that has no answer."""
    return {"error": {"code": code_name(code), "message": what}}


def as_json(said: Mapping[str, Any]) -> str:
    try:
        return json.dumps(said, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(said), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN; what is not a number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
