"""Blocks of rows to lines of answers: read and decoded by threads, batched by length."""

from __future__ import annotations

import collections
import itertools
import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mmjax.core.errors import ConfigError, MMJaxError
from mmjax.data.paths import list_media, read_media
from mmjax.export.inputs import MEDIA
from mmjax.export.program import Input, Prepared, Program, Result
from mmjax.serve.bulk.job import Work
from mmjax.serve.bulk.rows import Block

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


class Answerer:
    """What answers blocks: a program and the threads that prepare rows for it."""

    def __init__(self, program: Program, work: Work):
        self._program, self._work = program, work
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
        waiting: dict[Hashable, list[tuple[int, Prepared]]] = collections.defaultdict(list)
        for place, ready in enumerate(self._prepared(cells, root, largest * _AHEAD)):
            try:
                prepared = ready.result()
            except MMJaxError as error:
                found[place] = failed(error.code, error.what)
                continue
            batch = waiting[prepared.bucket]
            batch.append((place, prepared))
            if len(batch) == largest:
                self._run(waiting.pop(prepared.bucket), found)
        for batch in waiting.values():
            self._run(batch, found)
        assert all(one is not None for one in found)
        return found  # type: ignore[return-value]

    def _run(
        self, batch: list[tuple[int, Prepared]], found: list[Mapping[str, Any] | None]
    ) -> None:
        results: list[Result] = self._program.run([one for _, one in batch])
        for (place, _), result in zip(batch, results, strict=True):
            found[place] = result.answer

    def _prepared(
        self, cells: list[dict[str, Any]], root: Path, ahead: int
    ) -> Iterator[Future[Prepared]]:
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

    def _prepare(self, cells: Mapping[str, Any], root: Path) -> Prepared:
        wanted = self._work.source.columns
        example = {name: self._cell(name, cells[name], root) for name in wanted}
        return self._program.prepare(example)

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
    return {"error": {"code": f"MMX-{code:03d}", "message": what}}


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
